"""Selecting kernels: Relax calls become calls of prim funcs that Ingot writes itself."""
