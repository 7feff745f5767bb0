"""Reference models: where each comes from, its preprocessing, its bundled default."""
