"""Joining requests into batches: which wait, which go together, and what runs them."""
