"""Fuzzing: seeded mutants of all that Ingot reads, each judged where it can harm nothing else.

``python -m tests.fuzz`` runs it; ``forkserver.py`` says how, ``kinds.py`` of what.
"""
