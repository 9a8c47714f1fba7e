"""What may come between two stages of a mixture: who enters the next one, and who is picked."""
