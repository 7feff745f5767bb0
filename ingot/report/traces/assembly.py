"""From the entries of a trace, one by one, to the trace: what begins and ends apart is joined."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from ingot.report.traces.events import Event, Flow, Mark, Sample, Thread, Trace
from ingot.report.traces.nesting import nested

# Microseconds, beyond which a double does not hold each of them; and what a double holds.
_FARTHEST = 2**53
_LARGEST = 1.7e308


@dataclasses.dataclass
class _Begun:
    """An event that has begun."""

    record: Mapping[str, Any]
    start: int


class Assembly:
    """Takes entries of a trace in the order of the file.

    Attributes:
        known: How many entries were of a kind that the format knows.
    """

    def __init__(self) -> None:
        self.known = 0
        self._events: list[Event] = []
        self._marks: list[Mark] = []
        self._samples: list[Sample] = []
        self._flows: list[Flow] = []
        self._threads: dict[Thread, str] = {}
        self._processes: dict[int | str, str] = {}
        self._open: dict[Thread, list[_Begun]] = collections.defaultdict(list)
        self._open_asynchronous: dict[tuple[Any, ...], list[_Begun]] = collections.defaultdict(list)
        self._ends_alone = 0
        self._left: collections.Counter[str] = collections.Counter()
        self._by_phase: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "X": self._complete, "B": self._begin, "E": self._end,
            "b": self._begin_asynchronous, "e": self._end_asynchronous,
            "S": self._begin_asynchronous, "F": self._end_asynchronous,
            "i": self._mark, "I": self._mark, "R": self._mark, "n": self._mark,
            "C": self._sample, "s": self._flow, "t": self._flow, "f": self._flow,
            "M": self._name,
        }  # fmt: skip

    def add(self, record: Any) -> None:
        """Takes an entry.

        Raises:
            KeyError: It lacks a field.
            TypeError: It is no object.
            ValueError: A field has no value of its kind.
        """
        if record == {}:  # what some programs end a list with, to be free to write commas
            return
        if not isinstance(record, dict):
            raise TypeError("is no object")
        phase = record["ph"]
        add = self._by_phase.get(phase) if isinstance(phase, str) else None
        if add is None:
            self._left[str(phase)[:1]] += 1
        else:
            add(record)
        self.known += 1

    def trace(self) -> Trace:
        """Ends what has no end and returns the trace, its times from its first moment on."""
        notes = self._notes()
        self._end_all()
        marks = sorted(self._marks, key=lambda mark: mark.time)
        samples = sorted(self._samples, key=lambda sample: sample.time)
        flows = sorted(self._flows, key=lambda flow: flow.time)
        moments = [event.start for event in self._events]
        moments += [mark.time for mark in marks] + [sample.time for sample in samples]
        origin = min(moments + [flow.time for flow in flows], default=0)
        for event in self._events:
            event.start -= origin
        marks = [dataclasses.replace(mark, time=mark.time - origin) for mark in marks]
        samples = [dataclasses.replace(one, time=one.time - origin) for one in samples]
        flows = [dataclasses.replace(flow, time=flow.time - origin) for flow in flows]
        return Trace(
            events=nested(self._events),
            marks=tuple(marks),
            samples=tuple(samples),
            flows=tuple(flows),
            threads=self._threads,
            processes=self._processes,
            notes=tuple(notes),
        )

    def _complete(self, record: Mapping[str, Any]) -> None:
        self._add_event(record, nanoseconds(record["ts"]), nanoseconds(record.get("dur", 0)))

    def _begin(self, record: Mapping[str, Any]) -> None:
        self._open[_thread(record)].append(_Begun(record, nanoseconds(record["ts"])))

    def _end(self, record: Mapping[str, Any]) -> None:
        self._end_latest(self._open[_thread(record)], record)

    def _begin_asynchronous(self, record: Mapping[str, Any]) -> None:
        begun = _Begun(_on_own_lane(record), nanoseconds(record["ts"]))
        self._open_asynchronous[_asynchronous_key(record)].append(begun)

    def _end_asynchronous(self, record: Mapping[str, Any]) -> None:
        self._end_latest(self._open_asynchronous[_asynchronous_key(record)], record)

    def _end_latest(self, begun: list[_Begun], record: Mapping[str, Any]) -> None:
        end = nanoseconds(record["ts"])
        if not begun:
            self._ends_alone += 1
            return
        latest = begun.pop()
        args = {**_args(latest.record), **_args(record)}
        self._add_event({**latest.record, "args": args}, latest.start, end - latest.start)

    def _end_all(self) -> None:
        """Lets what has no end last as long as the trace."""
        left = [one for open_ in (self._open, self._open_asynchronous) for one in open_.values()]
        last = max(
            [event.end for event in self._events]
            + [mark.time for mark in self._marks]
            + [begun.start for entries in left for begun in entries],
            default=0,
        )
        for begun in [begun for entries in left for begun in entries]:
            self._add_event(begun.record, begun.start, last - begun.start)

    def _add_event(self, record: Mapping[str, Any], start: int, duration: int) -> None:
        if duration < 0:
            raise ValueError("ends before it begins")
        args = _args(record)
        name = record.get("name", "")
        self._events.append(
            Event(
                _source(record), str(name), start, duration, _thread(record), _request(args), args
            )
        )

    def _mark(self, record: Mapping[str, Any]) -> None:
        args = _args(record)
        self._marks.append(
            Mark(
                _source(record), str(record.get("name", "")), nanoseconds(record["ts"]),
                _thread(record), _request(args), args,
            )
        )  # fmt: skip

    def _sample(self, record: Mapping[str, Any]) -> None:
        values = {
            str(series): float(value)
            for series, value in _args(record).items()
            if isinstance(value, (int, float)) and abs(value) <= _LARGEST
        }
        name = str(record["name"])
        self._samples.append(Sample(_source(record), name, nanoseconds(record["ts"]), values))

    def _flow(self, record: Mapping[str, Any]) -> None:
        identity = record.get("id", record.get("bind_id"))
        if identity is None:
            raise KeyError("id")
        self._flows.append(
            Flow(_source(record), str(identity), nanoseconds(record["ts"]), _thread(record))
        )

    def _name(self, record: Mapping[str, Any]) -> None:
        name = _args(record).get("name")
        if record.get("name") == "thread_name" and name is not None:
            self._threads[_thread(record)] = str(name)
        elif record.get("name") == "process_name" and name is not None:
            self._processes[_thread(record)[0]] = str(name)

    def _notes(self) -> list[str]:
        notes = []
        begun = sum(map(len, self._open.values())) + sum(map(len, self._open_asynchronous.values()))
        if begun:
            notes.append(f"Events that have no end, shown to last as long as the trace: {begun}.")
        if self._ends_alone:
            notes.append(f"Ends of events that have no beginning, left out: {self._ends_alone}.")
        if self._left:
            kinds = ", ".join(sorted(self._left))
            notes.append(f"Entries of kinds that are not shown ({kinds}): {self._left.total()}.")
        return notes


def nanoseconds(microseconds: Any) -> int:
    """A time of the format's, in whole nanoseconds.

    Raises:
        ValueError: It is no finite number, or beyond what 53 bits hold.
    """
    if isinstance(microseconds, str):
        microseconds = float(microseconds)
    if isinstance(microseconds, bool) or not isinstance(microseconds, (int, float)):
        raise ValueError(f"has no time, but {microseconds!r}")
    if not abs(microseconds) <= _FARTHEST:  # NaN is not, either
        raise ValueError(f"has a time that no clock shows, {microseconds}")
    return round(microseconds * 1000)


def _thread(record: Mapping[str, Any]) -> Thread:
    process, thread = record.get("pid", 0), record.get("tid", 0)
    return (
        process if isinstance(process, int) else str(process),
        thread if isinstance(thread, int) else str(thread),
    )


def _source(record: Mapping[str, Any]) -> str:
    return str(record.get("cat", ""))


def _args(record: Mapping[str, Any]) -> Mapping[str, Any]:
    args = record.get("args")
    return args if isinstance(args, dict) else {}


def _request(args: Mapping[str, Any]) -> str | None:
    request = args.get("request")
    return None if request is None else str(request)


def _on_own_lane(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """An asynchronous event, which belongs to no thread, on a lane of its source's."""
    return {**record, "tid": f"asynchronous {_source(record)}".rstrip()}


def _asynchronous_key(record: Mapping[str, Any]) -> tuple[Any, ...]:
    identity = record.get("id", record.get("id2"))
    if isinstance(identity, dict):
        identity = str(sorted(identity.items()))
    return record.get("pid"), _source(record), identity, str(record.get("name", ""))
