"""Many questions: answered live, by the vendors' batch APIs, or on a Ray cluster, and never paid for twice."""
