"""Measuring, comparing, rendering."""
