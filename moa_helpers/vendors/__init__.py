"""How a call reaches its vendor: one file an SDK, the keys, and what an error means."""
