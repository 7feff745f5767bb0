"""Profiling sessions: what happened when, recorded at a cost that a request does not feel.

with ingot.profiling.start("startup") as session:
with profiling.event("warm up"):
...
session.save("startup.json.gz")
"""

from __future__ import annotations

from ingot.runtime.profiling.event_sources import METRIC, USER, Source, register_source, sources
from ingot.runtime.profiling.recording import ProfilingSession
from ingot.runtime.profiling.requests import Request, current_request, request
from ingot.runtime.profiling.sessions import DEFAULT_LIMIT, current, start
from ingot.runtime.profiling.trace import Counter, Event, Mark, Step, Trace
from ingot.runtime.profiling.trace_file import read_trace

event = USER.event
traced = USER.traced
mark = USER.mark
counter = USER.counter


def metric(name: str, value: float) -> None:
    """Records a figure of the program's own, such as an accuracy or a batch's size."""
    METRIC.counter(name, value=value)


__all__ = [
    "DEFAULT_LIMIT",
    "Counter",
    "Event",
    "Mark",
    "ProfilingSession",
    "Request",
    "Source",
    "Step",
    "Trace",
    "counter",
    "current",
    "current_request",
    "event",
    "mark",
    "metric",
    "read_trace",
    "register_source",
    "request",
    "sources",
    "start",
    "traced",
]
