"""What bounds calls: how long, how often, how many at once and for how much."""
