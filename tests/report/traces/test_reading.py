"""Traces of sessions and of other programs are read; what is none is refused in one line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingot.errors import TraceError
from ingot.report.traces.events import Flow, Mark, Sample
from ingot.report.traces.reading import read_trace
from tests.report.traces.sample import MAIN, WORKER, chrome, complete, session_trace


def test_a_session_s_trace(tmp_path: Path) -> None:
    path = session_trace(2).save(tmp_path / "session.json.gz")
    trace = read_trace(path)
    assert (trace.about.session, trace.about.started) == (
        "two threads", "2026-11-30T12:00:00.000000+00:00",
    )  # fmt: skip
    assert trace.processes == {7: "server"}
    assert trace.threads[7, WORKER] == "worker"
    first = next(event for event in trace.events if event.name == "run")
    assert (first.thread, first.request, first.depth) == ((7, WORKER), "req-0", 0)
    inner = [event for event in trace.events if event.parent >= 0 and event.request == "req-0"]
    assert [event.name for event in inner] == ["bind", "conv2d_relu", "dense", "softmax", "copy"]
    assert first.self_time == first.duration - sum(event.duration for event in inner)
    assert trace.flows[:2] == (
        Flow("request", "req-0", 3_200_001, (7, MAIN)),
        Flow("request", "req-0", 3_230_001, (7, WORKER)),
    )
    assert trace.samples[0] == Sample("metric", "queue", 3_200_000, {"length": 0.0})


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(lambda records: {"traceEvents": records}, id="object"),
        pytest.param(lambda records: records, id="array"),
        pytest.param(lambda records: json.dumps(records)[:-1], id="array without an end"),
        pytest.param(lambda records: json.dumps(records)[:-1] + ",\n", id="ends with a comma"),
        pytest.param(lambda records: json.dumps([*records, {}]), id="an empty object at the end"),
    ],
)
def test_forms_of_other_programs(tmp_path: Path, document) -> None:
    records = [complete("outer", 1000.5, 100), complete("inner", 1010, 20.25, cat="x")]
    trace = read_trace(chrome(tmp_path / "t.json", document(records)))
    assert [(e.source, e.name, e.start, e.duration, e.depth) for e in trace.events] == [
        ("", "outer", 0, 100_000, 0), ("x", "inner", 9_500, 20_250, 1),
    ]  # fmt: skip
    assert trace.about.session is None


def test_beginnings_and_ends_are_joined(tmp_path: Path) -> None:
    def entry(phase: str, name: str, at: float, **others):
        return {"ph": phase, "name": name, "ts": at, "pid": 1, "tid": "pool-1", **others}

    trace = read_trace(
        chrome(
            tmp_path / "t.json",
            [
                entry("B", "outer", 0, args={"a": 1}),
                entry("B", "inner", 2),
                entry("E", "", 5),
                entry("E", "", 10, args={"b": 2}),
                entry("E", "", 11),
                entry("B", "never ends", 12),
                entry("b", "upload", 0, id=1, cat="io"),
                entry("b", "upload", 1, id=2, cat="io"),
                entry("e", "upload", 20, id=1, cat="io"),
                entry("e", "upload", 30, id=2, cat="io"),
                entry("O", "snapshot", 1),
            ],
        )
    )
    found = {(e.name, e.start, e.end): e for e in trace.events}
    assert found["outer", 0, 10_000].args == {"a": 1, "b": 2}
    assert found["inner", 2_000, 5_000].depth == 1
    assert ("never ends", 12_000, 30_000) in found
    uploads = [found["upload", 0, 20_000], found["upload", 1_000, 30_000]]
    assert {e.thread for e in uploads} == {(1, "asynchronous io")}
    assert [(e.depth, e.parent) for e in uploads] == [(0, -1), (1, -1)]
    assert trace.notes == (
        "Events that have no end, shown to last as long as the trace: 1.",
        "Ends of events that have no beginning, left out: 1.",
        "Entries of kinds that are not shown (O): 1.",
    )


def test_marks_counters_flows_and_names(tmp_path: Path) -> None:
    trace = read_trace(
        chrome(
            tmp_path / "t.json",
            [
                {"ph": "i", "name": "here", "ts": "5", "pid": 1, "tid": 2, "args": {"request": 7}},
                {"ph": "C", "name": "memory", "ts": 6, "pid": 1, "args": {"mb": 3, "note": "x"}},
                {"ph": "s", "id": 9, "cat": "request", "name": "r", "ts": 7, "pid": 1, "tid": 2},
                {"ph": "M", "name": "thread_name", "pid": 1, "tid": 2, "args": {"name": "io"}},
                {"ph": "M", "name": "process_name", "pid": 1, "args": {"name": "server"}},
            ],
        )
    )
    assert trace.marks == (Mark("", "here", 0, (1, 2), "7", {"request": 7}),)
    assert trace.samples == (Sample("", "memory", 1_000, {"mb": 3.0}),)
    assert trace.flows == (Flow("request", "9", 2_000, (1, 2)),)
    assert (trace.threads, trace.processes) == ({(1, 2): "io"}, {1: "server"})


def test_a_profile_that_onnxruntime_writes(tmp_path: Path, small_model: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.enable_profiling, options.profile_file_prefix = True, str(tmp_path / "ort")
    session = onnxruntime.InferenceSession(small_model, options)
    session.run(None, {"image": np.zeros((1, 3, 16, 16), np.float32)})
    trace = read_trace(Path(session.end_profiling()))
    names = {event.name for event in trace.events}
    assert {"model_run", "session_initialization"} <= names
    assert any(event.source == "Node" and event.depth > 1 for event in trace.events)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is not JSON"),
        (b"{", "it is not JSON"),
        (b"[{]", "it is not JSON"),
        (b"3", "neither a list of events nor an object with traceEvents"),
        (b'{"traceEvents": 3}', "neither a list of events nor an object with traceEvents"),
        (b"[1]", "event 0 is no object"),
        (b'[{"name": "x"}]', "event 0 has no 'ph'"),
        (b'[{"ph": "X", "name": "x"}]', "event 0 has no 'ts'"),
        (b'[{"ph": "X", "ts": null}]', "event 0 has no time, but None"),
        (b'[{"ph": "X", "ts": "x"}]', "event 0 could not convert"),
        (b'[{"ph": "X", "ts": 1, "dur": -1}]', "event 0 ends before it begins"),
        (b'[{"ph": "X", "ts": NaN}]', "event 0 has a time that no clock shows"),
        (b'[{"ph": "X", "ts": 1e300}]', "event 0 has a time that no clock shows"),
        (b'[{"ph": "X", "ts": 1' + b"0" * 400 + b"}]", "event 0 has a time that no clock shows"),
        (b"[" * 100_000, "it is nested too deep"),
        (b"\xff\xfe\x00", "not text in UTF-8"),
        (gzip.compress(b"[" + b" " * 5000, mtime=0)[:20], "is a damaged gzip file"),
        (
            b'{"otherData": {"format": "ingot-trace", "version": 9}, "traceEvents": []}',
            "or damaged",
        ),
    ],
)
def test_what_is_no_trace(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(TraceError) as raised:
        read_trace(path)
    assert message in str(raised.value)
    assert "bad.json" in str(raised.value)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="there is no trace"):
        read_trace(tmp_path / "none.json")
    with pytest.raises(TraceError, match="Is a directory"):
        read_trace(tmp_path)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
records = st.dictionaries(
    st.sampled_from(["ph", "name", "ts", "dur", "pid", "tid", "args", "id", "cat"]),
    st.sampled_from(["X", "B", "E", "b", "e", "i", "C", "s", "M", 1, 2.5]) | values,
)


@given(st.lists(records | values, max_size=6) | values)
def test_any_json_is_a_trace_or_a_trace_error(tmp_path_factory, document) -> None:
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(document))
    try:
        trace = read_trace(path)
    except TraceError as error:
        assert "\n" not in str(error)
    else:
        assert all(event.start >= 0 and event.duration >= 0 for event in trace.events)
