"""Profiling sessions, as :mod:`ingot.runtime.profiling` has them; needs the base install alone."""

from ingot.runtime.profiling import Counter, Event, Mark, Step, Trace, read_trace

__all__ = ["Counter", "Event", "Mark", "Step", "Trace", "read_trace"]
