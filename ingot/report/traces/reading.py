"""Reading a trace: of an Ingot session, or of another program in Chrome's format.

The format is that of "Trace Event Format" (the Chromium project): the object form and the array
form, whose end may be missing; complete events, pairs of beginnings and ends, asynchronous pairs,
marks, counters, flows and names.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import zlib
from pathlib import Path
from typing import Any

from ingot.errors import TraceError
from ingot.report.traces.assembly import Assembly
from ingot.report.traces.events import About, Event, Flow, Mark, Sample, Trace
from ingot.report.traces.nesting import nested
from ingot.runtime.profiling import api as profiling

_GZIP = b"\x1f\x8b"
# A session says what wrote it before its events; what another program has rearranged is found, too.
_OWN = re.compile(r'"format"\s*:\s*"ingot-trace"')


def read_trace(path: Path) -> Trace:
    """Reads a trace, compressed by gzip or not.

    Raises:
        TraceError: There is no such file, or it is no trace in Chrome's format.
    """
    text = _text(path)
    if _OWN.search(text):
        return _from_session(profiling.read_trace(path))
    document = _parse(path, text)
    records = document.get("traceEvents") if isinstance(document, dict) else document
    if not isinstance(records, list):
        raise TraceError(
            f"{path} is no trace: it is neither a list of events nor an object with traceEvents"
        )
    assembly = Assembly()
    for index, record in enumerate(records):
        try:
            assembly.add(record)
        except (KeyError, TypeError, ValueError) as error:
            raise TraceError(
                f"{path} is no trace, or damaged: event {index} {_reason(error)}"
            ) from error
    return assembly.trace()


def _from_session(found: profiling.Trace) -> Trace:
    """A session's trace; its times count from the session's start."""

    def place(thread: int) -> tuple[int, int]:
        return found.process, thread

    return Trace(
        events=nested(
            Event(
                event.source, event.name, event.start_ns, event.duration_ns, place(event.thread),
                event.request, event.args,
            )
            for event in found.events
        ),
        marks=tuple(
            Mark(mark.source, mark.name, mark.at_ns, place(mark.thread), mark.request, mark.args)
            for mark in found.marks
        ),
        samples=tuple(
            Sample(counter.source, counter.name, counter.at_ns, counter.values)
            for counter in found.counters
        ),
        flows=tuple(
            Flow("request", step.request, step.at_ns, place(step.thread)) for step in found.steps
        ),
        threads={place(thread): name for thread, name in found.threads.items()},
        processes={found.process: found.program},
        about=About(found.name, found.started, found.version, found.machine, found.dropped),
    )  # fmt: skip


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        if data.startswith(_GZIP):
            data = gzip.decompress(data)
        return data.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise TraceError(f"there is no trace {path}") from error
    except UnicodeDecodeError as error:
        raise TraceError(f"{path} is no trace: it is not text in UTF-8") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TraceError(f"{path} is a damaged gzip file: {error}") from error
    except OSError as error:
        raise TraceError(f"{path} cannot be read: {error.strerror or error}") from error


def _parse(path: Path, text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise TraceError(f"{path} is no trace: it is nested too deep") from error
    except ValueError as error:
        # A program that was ended writes no end of its list; the format allows that.
        unfinished = text.rstrip().rstrip(",")
        if unfinished.startswith("[") and not unfinished.endswith("]"):
            with contextlib.suppress(ValueError, RecursionError):
                return json.loads(unfinished + "]")
        raise TraceError(f"{path} is no trace: it is not JSON ({error})") from error


def _reason(error: Exception) -> str:
    return f"has no {error}" if isinstance(error, KeyError) else str(error)
