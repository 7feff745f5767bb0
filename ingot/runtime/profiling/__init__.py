"""Profiling sessions; what a program calls is in :mod:`ingot.runtime.profiling.api`.

Nothing is imported here: a session asks only whether anything is recorded, and is not to take
longer to import for it.
"""
