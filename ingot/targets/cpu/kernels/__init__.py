"""Kernels for prim funcs on the CPU: analytical, no tuning run."""
