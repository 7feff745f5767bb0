"""No request, however wrong, ends anything: its answer is right, or a refusal."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.serving.running import Running

PATH = "/v2/models/small/infer"
SHAPE = (1, 3, 16, 16)
IMAGE = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
FUZZED = settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

lengths = st.one_of(
    st.integers(-3, 5000),
    st.sampled_from([0, IMAGE.nbytes, 2**31, 2**63, 2**64, -(2**63), 10**30]),
    st.floats(),
    st.text(max_size=5),
    st.none(),
)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner)
)


def require_refused_or_right(served: Running, body: bytes, headers: dict[str, str]) -> None:
    """What the server says is no fault of its own, and it answers rightly afterwards."""
    status, named, answer = served.ask("POST", PATH, body, headers)
    assert status == 200 or 400 <= status < 500, (status, answer[:200])
    if status != 200:
        # What is no HTTP is refused in a line of text.
        if named.get("content-type", "").startswith("application/json"):
            assert "error" in json.loads(answer)
        assert b"Traceback" not in answer
    require_alive(served)


def require_alive(served: Running) -> None:
    body = {
        "inputs": [
            {"name": "image", "shape": SHAPE, "datatype": "FP32", "data": IMAGE.ravel().tolist()}
        ]
    }
    status, _, answer = served.ask("POST", PATH, body)
    assert status == 200
    assert len(json.loads(answer)["outputs"][0]["data"]) == 10


def head(**changes: Any) -> dict[str, Any]:
    tensor = {
        "name": "image",
        "shape": list(SHAPE),
        "datatype": "FP32",
        "parameters": {"binary_data_size": IMAGE.nbytes},
    }
    return {"inputs": [{**tensor, **changes}]}


@FUZZED
@given(size=lengths, stated=lengths, cut=st.integers(0, IMAGE.nbytes))
def test_lengths_of_binary_tensors(served: Running, size: Any, stated: Any, cut: int) -> None:
    text = json.dumps(head(parameters={"binary_data_size": size})).encode()
    said = len(text) if stated is None else stated
    headers = {"Inference-Header-Content-Length": str(said).encode("ascii", "ignore").decode()}
    require_refused_or_right(served, text + IMAGE.tobytes()[:cut], headers)


@FUZZED
@given(shape=st.lists(lengths, max_size=6), datatype=st.sampled_from(["FP32", "BYTES", "INT8", ""]))
def test_shapes_and_types(served: Running, shape: list[Any], datatype: str) -> None:
    text = json.dumps(head(shape=shape, datatype=datatype)).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    require_refused_or_right(served, text + IMAGE.tobytes(), headers)


@FUZZED
@given(body=values)
def test_json_of_any_form(served: Running, body: Any) -> None:
    require_refused_or_right(served, json.dumps(body).encode(), {})


@FUZZED
@given(inputs=st.lists(st.dictionaries(st.sampled_from(
    ["name", "shape", "datatype", "data", "parameters"]), values), max_size=3))  # fmt: skip
def test_inputs_of_any_form(served: Running, inputs: list[dict[str, Any]]) -> None:
    require_refused_or_right(served, json.dumps({"inputs": inputs}).encode(), {})


@FUZZED
@given(body=st.binary(max_size=300), encoding=st.sampled_from(["gzip", "deflate", "zstd", "x"]))
def test_packed_bodies_of_any_bytes(served: Running, body: bytes, encoding: str) -> None:
    require_refused_or_right(served, body, {"Content-Encoding": encoding})


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_a_body_that_unpacks_to_more_than_the_limit(served: Running, pack: Any) -> None:
    encoding = "gzip" if pack is gzip.compress else "deflate"
    packed = pack(bytes(64 << 20))  # the server takes one MiB
    status, _, _ = served.ask("POST", PATH, packed, {"Content-Encoding": encoding})
    assert status == 413
    require_alive(served)


@FUZZED
@given(lengths=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=4), rest=st.binary())
def test_strings_of_wrong_lengths(served: Running, lengths: list[int], rest: bytes) -> None:
    data = b"".join(struct.pack("<I", length) for length in lengths) + rest
    tensor = {"datatype": "BYTES", "shape": [len(lengths)]}
    text = json.dumps(head(**tensor, parameters={"binary_data_size": len(data)})).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    require_refused_or_right(served, text + data, headers)
