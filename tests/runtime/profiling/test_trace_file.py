"""Traces are written as Chrome's trace events, by their schema, and come back as they were."""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingot.errors import TraceError, UsageError
from ingot.runtime.profiling import trace_file
from ingot.runtime.profiling.trace import Counter, Event, Mark, Step, Trace
from ingot.runtime.profiling.trace_file import read_trace
from tests.examples import examples

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = json.loads((ROOT / "docs/trace.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

TRACE = Trace(
    name="two requests",
    started="2026-11-30T12:00:00.000000+00:00",
    version="0.1.0",
    process=7,
    program="python",
    machine={"cpu": "a processor"},
    threads={8: "MainThread", 9: "worker"},
    events=(
        Event("session", "load", -1_500, 1_001, 8, None, {"artifact": "net", "bytes": 12}),
        Event("session", "run", 10, 2_345_678, 9, "r1", {"ok": True, "none": None}),
        Event("kernel", "conv", 11, 0, 9, "r1"),
    ),
    marks=(Mark("user", "here", 5, 8, "r1", {"note": "x"}), Mark("user", "there", 6, 8)),
    counters=(Counter("metric", "accuracy", 7, 8, {"value": 0.5, "odd": math.inf}),),
    steps=(Step("r1", 1, 8), Step("r1", 12, 9), Step("r1", 2_000, 8)),
    dropped=3,
    costs={"event": 512.5},
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ns = st.integers(-(2**50), 2**50)
# No "request": that key says which request it is.
args = st.dictionaries(
    text.filter(lambda key: key != "request"),
    st.one_of(text, st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False),
              st.booleans(), st.none()),
    max_size=3,
)  # fmt: skip
tids = st.integers(1, 2**23)
requests = st.one_of(st.none(), text)
durations = st.integers(0, 2**50)
traces = st.builds(
    Trace,
    name=text,
    started=text,
    version=text,
    process=tids,
    program=text,
    machine=st.dictionaries(text, text, max_size=3),
    threads=st.dictionaries(tids, text, max_size=3),
    events=st.lists(
        st.builds(Event, text, text, ns, durations, tids, requests, args), max_size=4
    ).map(tuple),
    marks=st.lists(st.builds(Mark, text, text, ns, tids, requests, args), max_size=3).map(tuple),
    counters=st.lists(
        st.builds(
            Counter, text, text, ns, tids,
            st.dictionaries(text, st.floats(allow_nan=False), max_size=3),
        ),
        max_size=3,
    ).map(tuple),
    dropped=st.integers(0, 2**40),
    costs=st.dictionaries(text, st.floats(0, 1e9), max_size=2),
)  # fmt: skip


def document(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize("name", ["trace.json", "trace.json.gz"])
def test_a_trace_comes_back_as_it_was(name: str, tmp_path: Path) -> None:
    path = TRACE.save(tmp_path / name)
    assert read_trace(path) == TRACE
    assert os.listdir(tmp_path) == [name]
    assert (path.read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")
    before = path.read_bytes()
    TRACE.save(path)
    assert path.read_bytes() == before


@settings(max_examples=examples(60))
@given(traces)
def test_any_trace_comes_back_and_is_as_the_schema_says(trace: Trace) -> None:
    path = trace.save(Path(os.environ.get("TMPDIR", "/tmp")) / f"ingot-{os.getpid()}.json")
    try:
        assert read_trace(path) == trace
        VALIDATOR.validate(document(path))
    finally:
        path.unlink()


def test_a_trace_is_as_the_schema_says(tmp_path: Path) -> None:
    found = document(TRACE.save(tmp_path / "trace.json"))
    VALIDATOR.validate(found)
    entries = found["traceEvents"]
    assert entries[4] == {
        "ph": "X", "cat": "session", "name": "run", "ts": 0.01, "pid": 7, "tid": 9,
        "dur": 2345.678, "args": {"request": "r1", "ok": True, "none": None},
    }  # fmt: skip
    assert [(e["ph"], e["tid"], e.get("bp")) for e in entries if e["ph"] in "stf"] == [
        ("s", 8, None),
        ("t", 9, None),
        ("f", 8, "e"),
    ]
    assert entries[-4]["args"] == {"value": 0.5, "odd": "Infinity"}


@pytest.mark.parametrize(
    "change",
    [
        {"ts": None},
        {"dur": -1.0},
        {"dur": "1"},
        {"args": {"request": 3}},
        {"args": {"request": None}},
        {"args": None},
        {"ph": "Z"},
        {"tid": "main"},
        {"cat": None},
    ],
)
def test_reader_and_schema_refuse_the_same(change: dict[str, Any], tmp_path: Path) -> None:
    path = TRACE.save(tmp_path / "trace.json")
    found = document(path)
    VALIDATOR.validate(found)
    found["traceEvents"][4].update(change)
    path.write_text(json.dumps(found))
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(found)
    with pytest.raises(TraceError, match="traceEvents/4"):
        read_trace(path)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "no trace of Ingot's, or damaged: Expecting value"),
        (b"[]", "no object"),
        (b"{}", "no key 'otherData'"),
        (b'{"otherData":{},"traceEvents":[]}', "otherData/format is not 'ingot-trace'"),
        (b'{"otherData":{"format":"ingot-trace"},"traceEvents":[]}', "no key"),
        (b"\xff\xfe", "damaged"),
        (b"\x1f\x8b\x08", "damaged"),
        (gzip.compress(b"{}" * 1000, mtime=0)[:-9], "damaged"),
        (gzip.compress(b"{}" * 1000, mtime=0)[:60] + b"\0" * 30, "damaged"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_trace_is_one_line(data: bytes, problem: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_bytes(data)
    with pytest.raises(TraceError, match=problem) as caught:
        read_trace(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("NaN", "a time that no clock shows"),
        ("1e999", "a time that no clock shows"),
        ("1" + "0" * 400, "a time that no clock shows"),
        ("true", "a value that is not a number"),
    ],
)
def test_times_are_those_of_a_clock(entry: str, problem: str, tmp_path: Path) -> None:
    path = TRACE.save(tmp_path / "trace.json")
    path.write_text(path.read_text().replace('"ts":0.01,', f'"ts":{entry},'))
    with pytest.raises(TraceError, match=problem):
        read_trace(path)


def test_another_version_is_named(tmp_path: Path) -> None:
    path = TRACE.save(tmp_path / "trace.json")
    path.write_text(path.read_text().replace('"version":1', '"version":2'))
    with pytest.raises(TraceError, match="its version is 2, and this Ingot reads version 1"):
        read_trace(path)


def test_what_the_file_says_beside_the_format_is_let_be(tmp_path: Path) -> None:
    path = TRACE.save(tmp_path / "trace.json")
    found = document(path)
    found["otherData"]["more"] = [1]
    found["stackFrames"] = {}
    found["traceEvents"][4]["cname"] = "good"
    path.write_text(json.dumps(found))
    assert read_trace(path) == TRACE


def test_a_missing_file_a_folder_and_a_pipe_are_errors(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot read .*: No such file"):
        read_trace(tmp_path / "none.json")
    with pytest.raises(TraceError, match="cannot read .*: Is a directory"):
        read_trace(tmp_path)
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(TraceError, match="it is a pipe"):
        read_trace(tmp_path / "pipe.json")


def test_a_place_for_no_file_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        TRACE.save(tmp_path / "missing" / "trace.json")


def test_no_more_is_written_or_read_than_there_is_room_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = TRACE.save(tmp_path / "trace.json.gz")
    monkeypatch.setattr(trace_file, "LARGEST_TRACE", 1000)
    with pytest.raises(TraceError, match="larger than"):
        read_trace(path)
    before = path.read_bytes()
    with pytest.raises(TraceError, match="would be larger than"):
        TRACE.save(path)
    assert path.read_bytes() == before


def test_requests_and_what_belongs_to_them() -> None:
    assert TRACE.requests == ("r1",)
    assert [event.name for event in TRACE.of_request("r1")] == ["run", "conv"]
    assert dataclasses.replace(TRACE, events=()).requests == ()


@given(st.builds(Event, text, text, ns, durations, tids, requests, args))
def test_the_short_way_of_reading_an_event_is_the_long_one(event: Event) -> None:
    trace = dataclasses.replace(TRACE, events=(event,))
    (raw,) = (entry for entry in trace_file._chrome_events(trace) if entry["ph"] == "X")
    long, short = trace_file._Found(), trace_file._Found()
    long.take(json.loads(json.dumps(raw)), "here")
    taken = short.take_plain(json.loads(json.dumps(raw)))
    assert long.events == [event]
    assert short.events == ([event] if taken else [])
    assert (
        taken == (event.source + event.name + (event.request or "") + "".join(event.args)).isascii()
    )
