"""Data: preprocessing, readers and (later) activation ranges."""
