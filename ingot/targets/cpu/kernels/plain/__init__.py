"""Prim funcs that no family takes: elements, transposes and reductions at the speed of memory."""
