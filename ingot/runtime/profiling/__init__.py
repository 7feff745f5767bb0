"""Profiling sessions: what happened when, recorded at a cost that a request does not feel."""

from ingot.runtime.profiling.trace import Counter, Event, Mark, Step, Trace
from ingot.runtime.profiling.trace_file import read_trace

__all__ = ["Counter", "Event", "Mark", "Step", "Trace", "read_trace"]
