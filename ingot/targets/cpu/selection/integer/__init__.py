"""Selecting kernels of 8-bit integers."""
