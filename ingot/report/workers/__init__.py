"""The processes that are measured: one engine each, and nothing else loaded."""
