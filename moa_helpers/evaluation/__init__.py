"""Does it help? Strategies on the same questions, judged in pairs and measured."""
