"""Traces: reading, selecting, summarizing, comparing, and a page to look at them."""
