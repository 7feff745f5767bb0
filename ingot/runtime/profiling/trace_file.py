"""Traces as files: the JSON object format of Chrome's trace events, which Perfetto reads.

Google, "Trace Event Format", 2016. Times are microseconds with three decimals, so that nanoseconds
come back as they were. Beside the events the file says what made it (``otherData``); a file that
does not is none of Ingot's. ``trace.schema.json`` beside this module describes all of it.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import math
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypedDict

from ingot.errors import ArtifactError, TraceError
from ingot.files import atomic_file, require_writable
from ingot.runtime.profiling.trace import Counter, Event, Mark, Step, Trace
from ingot.runtime.typed_json import decode, parse_json

FORMAT = "ingot-trace"
VERSION = 1
LARGEST_TRACE = 1 << 30
"""Bytes of the most JSON that is written and read."""
# An event takes a hundred bytes and more, and has a dozen values.
_BYTES_PER_VALUE = 8
# What names of threads and processes are told by.
_PROCESS_NAME, _THREAD_NAME = "process_name", "thread_name"
_REQUEST = "request"
_CHUNK_EVENTS = 1024
# Beyond these a double does not hold every nanosecond.
_FARTHEST_US = float(2**43)
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def write_trace(trace: Trace, path: Path) -> Path:
    """Writes a trace; see :meth:`Trace.save`."""
    require_writable(path)
    try:
        with atomic_file(path) as file, _compressed(path, file) as out:
            _write(trace, path, out)
    except ArtifactError as error:
        raise TraceError(str(error)) from error
    return path


@contextlib.contextmanager
def _compressed(path: Path, file: BinaryIO) -> Iterator[Any]:
    if path.suffix != ".gz":
        yield file
        return
    # Neither name nor time: the same trace gives the same bytes.
    with gzip.GzipFile("", "wb", 6, file, mtime=0) as out:
        yield out


def _write(trace: Trace, path: Path, out: Any) -> None:
    other = {
        "format": FORMAT,
        "version": VERSION,
        "session": trace.name,
        "started": trace.started,
        "clock": "monotonic",
        "ingot": trace.version,
        "machine": dict(trace.machine),
        "dropped": trace.dropped,
        "costs": dict(trace.costs),
    }
    head = f'{{"displayTimeUnit":"ns","otherData":{_json(other)},"traceEvents":['
    size = out.write(head.encode())
    lines = map(_json, _chrome_events(trace))
    separator = "\n"
    while chunk := list(itertools.islice(lines, _CHUNK_EVENTS)):
        size += out.write((separator + ",\n".join(chunk)).encode())
        separator = ",\n"
        if size > LARGEST_TRACE - 8:
            raise TraceError(
                f"the trace {path} would be larger than {LARGEST_TRACE >> 20} MiB: record less at "
                "once, with a smaller limit or fewer sources"
            )
    out.write(b"\n]}\n")


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _chrome_events(trace: Trace) -> Iterator[dict[str, Any]]:
    pid = trace.process
    yield _metadata(_PROCESS_NAME, pid, 0, trace.program)
    for thread, name in trace.threads.items():
        yield _metadata(_THREAD_NAME, pid, thread, name)
    for event in trace.events:
        yield {
            **_entry("X", event.source, event.name, event.start_ns, pid, event.thread),
            "dur": event.duration_ns / 1e3,
            "args": _args(event.args, event.request),
        }
    for mark in trace.marks:
        yield {
            **_entry("i", mark.source, mark.name, mark.at_ns, pid, mark.thread),
            "s": "t",
            "args": _args(mark.args, mark.request),
        }
    for counter in trace.counters:
        yield {
            **_entry("C", counter.source, counter.name, counter.at_ns, pid, counter.thread),
            "args": _args(counter.values, None),
        }
    yield from _flows(trace.steps, pid)


def _metadata(name: str, pid: int, tid: int, value: str) -> dict[str, Any]:
    return {"ph": "M", "name": name, "pid": pid, "tid": tid, "args": {"name": value}}


def _entry(phase: str, cat: str, name: str, at_ns: int, pid: int, tid: int) -> dict[str, Any]:
    return {"ph": phase, "cat": cat, "name": name, "ts": at_ns / 1e3, "pid": pid, "tid": tid}


def _args(args: Mapping[str, Any], request: str | None) -> dict[str, Any]:
    """What is stated of an entry; JSON has no infinities and no NaN, which become strings."""
    written = {
        key: value
        if not isinstance(value, float) or math.isfinite(value)
        else str(value).replace("nan", "NaN").replace("inf", "Infinity")
        for key, value in args.items()
    }
    return written if request is None else {_REQUEST: request, **written}


def _flows(steps: Iterable[Step], pid: int) -> Iterator[dict[str, Any]]:
    """Arrows from each step of a request to the next: a start, steps, and a finish."""
    by_request: dict[str, list[Step]] = {}
    for step in steps:
        by_request.setdefault(step.request, []).append(step)
    for request, places in by_request.items():
        for index, step in enumerate(places):
            last = index == len(places) - 1
            phase = "s" if index == 0 else "f" if last else "t"
            entry = _entry(phase, _REQUEST, _REQUEST, step.at_ns, pid, step.thread)
            entry["id"] = request
            if phase == "f":
                # Binds to the event that it lies in, as the others do, and not to the next one.
                entry["bp"] = "e"
            yield entry


def read_trace(path: str | Path) -> Trace:
    """Reads a trace that Ingot has written.

    Args:
        path: The file, compressed or not.

    Raises:
        TraceError: It cannot be read, is damaged, or is none of Ingot's traces.
    """
    path = Path(path)
    try:
        document = decode(_Document, _parse(path))
        return _decode(document)
    except OSError as error:
        raise TraceError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError, zlib.error) as error:
        raise TraceError(f"{path} is no trace of Ingot's, or damaged: {error}") from error


class _About(TypedDict):
    format: str
    version: int
    session: str
    started: str
    ingot: str
    machine: Mapping[str, str]
    dropped: int


class _Document(TypedDict):
    otherData: Mapping[str, Any]
    traceEvents: list[Any]


class _Named(TypedDict):
    name: str


class _Phase(TypedDict):
    ph: str


class _Metadata(TypedDict):
    name: str
    pid: int
    tid: int
    args: _Named


class _Entry(TypedDict):
    cat: str
    name: str
    ts: float
    pid: int
    tid: int
    args: Mapping[str, Any]


class _Complete(_Entry):
    dur: float


class _Flow(TypedDict):
    id: str
    ts: float
    tid: int


def _parse(path: Path) -> Any:
    # Before it is opened: opening a pipe waits for who writes to it.
    if stat.S_ISFIFO(path.stat().st_mode):
        raise ValueError("it is a pipe")
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        source: Any = gzip.GzipFile(fileobj=file) if packed else file
        data = source.read(LARGEST_TRACE + 1)
    return parse_json(data, largest=LARGEST_TRACE, most_values=LARGEST_TRACE // _BYTES_PER_VALUE)


def _decode(document: _Document) -> Trace:
    other = document["otherData"]
    if other.get("format") != FORMAT:
        raise ValueError(f"otherData/format is not {FORMAT!r}")
    about = decode(_About, other, "otherData")
    if about["version"] != VERSION:
        raise ValueError(
            f"its version is {about['version']}, and this Ingot reads version {VERSION}"
        )
    costs = decode(Mapping[str, float], other.get("costs", {}), "otherData/costs")
    found = _Found()
    for index, raw in enumerate(document["traceEvents"]):
        if not found.take_plain(raw):
            found.take(raw, f"traceEvents/{index}")
    return Trace(
        name=about["session"],
        started=about["started"],
        version=about["ingot"],
        process=found.process,
        program=found.program,
        machine=about["machine"],
        threads=found.threads,
        events=tuple(found.events),
        marks=tuple(found.marks),
        counters=tuple(found.counters),
        steps=tuple(found.steps),
        dropped=about["dropped"],
        costs=costs,
    )


class _Found:
    """Collects what the events of a file say."""

    def __init__(self) -> None:
        self.process = 0
        self.program = ""
        self.threads: dict[int, str] = {}
        self.events: list[Event] = []
        self.marks: list[Mark] = []
        self.counters: list[Counter] = []
        self.steps: list[Step] = []

    def take_plain(self, raw: Any) -> bool:
        """Takes what nearly all entries are, an event of nothing but ASCII; whether it is one.

        A trace has many: this takes a tenth of the time that :meth:`take` does.
        """
        if type(raw) is not dict or raw.get("ph") != "X":
            return False
        cat, name, tid, args = raw.get("cat"), raw.get("name"), raw.get("tid"), raw.get("args")
        start, duration = raw.get("ts"), raw.get("dur")
        if not (
            type(cat) is type(name) is str
            and type(tid) is type(raw.get("pid")) is int
            and type(start) is type(duration) is float
            and type(args) is dict
            and cat.isascii()
            and name.isascii()
            and -_FARTHEST_US < start < _FARTHEST_US
            and 0 <= duration < _FARTHEST_US
        ):
            return False
        request = args.get(_REQUEST, "")
        if type(request) is not str or not request.isascii() or not "".join(args).isascii():
            return False
        request = args.pop(_REQUEST, None)
        start_ns, duration_ns = round(start * 1e3), round(duration * 1e3)
        self.events.append(Event(cat, name, start_ns, duration_ns, tid, request, args))
        return True

    def take(self, raw: Any, where: str) -> None:
        """Takes an entry of any kind.

        Raises:
            ValueError: It is not as the schema says; tells where.
        """
        phase = decode(_Phase, raw, where)["ph"]
        if phase == "M":
            self._name(decode(_Metadata, raw, where))
        elif phase in ("s", "t", "f"):
            flow = decode(_Flow, raw, where)
            self.steps.append(Step(flow["id"], _ns(flow["ts"], where), flow["tid"]))
        elif phase == "X":
            complete = decode(_Complete, raw, where)
            duration = _ns(complete["dur"], where)
            if duration < 0:
                raise ValueError(f"a negative duration in {where!r}")
            start = _ns(complete["ts"], where)
            request, args = _split(complete["args"], where)
            self.events.append(
                Event(
                    complete["cat"],
                    complete["name"],
                    start,
                    duration,
                    complete["tid"],
                    request,
                    args,
                )
            )
        elif phase in ("i", "C"):
            self._moment(phase, decode(_Entry, raw, where), where)
        else:
            raise ValueError(f"the unknown phase {phase[:20]!r} in {where!r}")

    def _name(self, raw: _Metadata) -> None:
        if raw["name"] == _PROCESS_NAME:
            self.process, self.program = raw["pid"], raw["args"]["name"]
        elif raw["name"] == _THREAD_NAME:
            self.threads[raw["tid"]] = raw["args"]["name"]

    def _moment(self, phase: str, raw: _Entry, where: str) -> None:
        at = _ns(raw["ts"], where)
        if phase == "i":
            request, args = _split(raw["args"], where)
            self.marks.append(Mark(raw["cat"], raw["name"], at, raw["tid"], request, args))
            return
        values = {
            key: _NOT_FINITE.get(value, value) if isinstance(value, str) else value
            for key, value in raw["args"].items()
        }
        values = decode(Mapping[str, float], values, f"{where}/args")
        self.counters.append(Counter(raw["cat"], raw["name"], at, raw["tid"], values))


def _ns(microseconds: float, where: str) -> int:
    if not -_FARTHEST_US < microseconds < _FARTHEST_US:
        raise ValueError(f"a time that no clock shows in {where!r}")
    return round(microseconds * 1e3)


def _split(args: Mapping[str, Any], where: str) -> tuple[str | None, Mapping[str, Any]]:
    """The request that an event's arguments name, and the others."""
    if _REQUEST not in args:
        return None, args
    request = decode(str, args[_REQUEST], f"{where}/args/{_REQUEST}")
    return request, {key: value for key, value in args.items() if key != _REQUEST}
