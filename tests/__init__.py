"""The tests: ``unit`` (no server, virtual time), ``wire`` (one real exchange), notebooks, browser; ``support``."""
