"""Traces to look at in tests: as a session writes them, and as other programs do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ingot.profiling import Counter, Event, Mark, Step, Trace
from ingot.report.machine import machine_facts

MAIN, WORKER = 11, 12
KERNELS = {
    "conv2d_relu": {"operators": "conv2d+relu", "operations": 2_000_000, "bytes": 40_000},
    "dense": {"operators": "matmul", "operations": 20_000, "bytes": 44_000},
    "softmax": {"operators": "softmax", "operations": 500, "bytes": 8_000},
}


def session_trace(
    requests: int = 12,
    *,
    kernel_us: Mapping[str, float] | None = None,
    seed: int = 0,
    cpu: str | None = None,
    estimates: bool = False,
) -> Trace:
    """A server that takes requests on one thread and runs them on another.

    Args:
        requests: How many.
        kernel_us: Microseconds of kernels, by name, around which they vary by a tenth.
        seed: Of what varies.
        cpu: The processor that it names; by default this machine's.
        estimates: Whether a region for an NPU is among what runs.
    """
    lengths = {"conv2d_relu": 40.0, "dense": 9.0, "softmax": 1.5, **(kernel_us or {})}
    rng = np.random.default_rng(seed)
    events = [Event("session", "load", 0, 3_000_000, MAIN, None, {"artifact": "net"})]
    marks, counters, steps = [], [], []
    now = 3_200_000
    for index in range(requests):
        request = f"req-{index}"
        arrived = now
        marks.append(Mark("server", "arrived", arrived, MAIN, request, {"bytes": 12_288}))
        events.append(Event("request", "accept", arrived, 20_000, MAIN, request))
        start = arrived + 30_000
        at = start + 4_000
        inner = [Event("session", "bind", start, 3_000, WORKER, request)]
        for name, cost in KERNELS.items():
            length = int(lengths[name] * 1e3 * rng.normal(1.0, 0.1))
            inner.append(
                Event("kernel", name, at, length, WORKER, request, {"artifact": "net", **cost})
            )
            at += length + 300
        if estimates:
            args = {"estimate": True, "cycles": 12_000}
            inner.append(Event("npu", "region_0", start, 500_000, WORKER, request, args))
        inner.append(Event("session", "copy", at, 2_000, WORKER, request))
        events.append(Event("session", "run", start, at + 2_500 - start, WORKER, request))
        events += inner
        steps += [Step(request, arrived + 1, MAIN), Step(request, start + 1, WORKER)]
        counters.append(Counter("metric", "queue", arrived, MAIN, {"length": float(index % 4)}))
        now = at + int(rng.integers(10_000, 60_000))
    return Trace(
        name="two threads",
        started="2026-11-30T12:00:00.000000+00:00",
        version="0.1.0",
        process=7,
        program="server",
        machine={"cpu": cpu or machine_facts().cpu, "threads": "1"},
        threads={MAIN: "MainThread", WORKER: "worker"},
        events=tuple(sorted(events, key=lambda event: event.start_ns)),
        marks=tuple(marks),
        counters=tuple(counters),
        steps=tuple(steps),
    )


def chrome(path: Path, records: Any) -> Path:
    """Writes entries as another program would."""
    path.write_text(records if isinstance(records, str) else json.dumps(records))
    return path


def complete(name: str, start: float, duration: float, **others: Any) -> dict[str, Any]:
    """A complete event, times in microseconds."""
    return {"ph": "X", "name": name, "ts": start, "dur": duration, "pid": 1, "tid": 1, **others}
