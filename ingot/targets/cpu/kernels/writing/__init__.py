"""Writing prim funcs: statements, vectors, tasks, scalar functions."""
