"""Selecting kernels of 8-bit integers and of bfloat16."""
