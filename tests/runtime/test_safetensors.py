"""Weights survive the safetensors format, aligned, and as its own library reads them."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ingot.compiler.artifact_writer import ALIGNMENT, describe_weights, serialize_weights
from ingot.errors import ArtifactError, ModelError
from ingot.runtime.safetensors import DTYPES, PADDING_PREFIX, load_weights, map_tensors

ARRAYS = hnp.arrays(
    st.sampled_from(list(DTYPES.values())), hnp.array_shapes(min_dims=0, max_dims=3, max_side=9)
)


@given(st.dictionaries(st.text(min_size=1, max_size=8), ARRAYS, max_size=4))
def test_round_trip_through_ours_and_the_library(weights: dict[str, np.ndarray]) -> None:
    weights = {f"w{name}": array for name, array in weights.items()}
    data = b"".join(serialize_weights(weights))
    ours = map_tensors(memoryview(data))
    theirs = safetensors.numpy.load(data)
    for tensors in (ours, {k: v for k, v in theirs.items() if not k.startswith(PADDING_PREFIX)}):
        assert tensors.keys() == weights.keys()
        for name, array in weights.items():
            assert tensors[name].dtype == array.dtype
            assert tensors[name].shape == array.shape
            assert tensors[name].tobytes() == array.tobytes()


@given(st.lists(ARRAYS, min_size=1, max_size=4))
def test_each_tensor_begins_at_a_multiple_of_64_bytes(arrays: list[np.ndarray]) -> None:
    parts = serialize_weights({str(i): a for i, a in enumerate(arrays)})
    data = np.frombuffer(b"".join(parts), np.uint8)
    base = data.ctypes.data
    for tensor in map_tensors(memoryview(data)).values():
        if tensor.nbytes:
            assert (tensor.ctypes.data - base) % 64 == 0


def test_a_dtype_that_cannot_be_stored_is_refused() -> None:
    with pytest.raises(ModelError, match="dtype complex64 cannot be stored"):
        serialize_weights({"w": np.zeros(3, np.complex64)})


HALF = {"dtype": "F16", "shape": [4], "data_offsets": [0, 8]}


def file(header: object, body: bytes = bytes(8)) -> memoryview:
    text = json.dumps(header).encode()
    return memoryview(struct.pack("<Q", len(text)) + text + body)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1234",
        b"\xff" * 16,
        b"\x02" + bytes(7) + b"{]",
        b"\x02" + bytes(7) + b"[]",
        struct.pack("<Q", 100_000) + b"[" * 100_000,
    ],
    ids=["empty", "short", "huge length", "no JSON", "a list", "deep"],
)
def test_a_damaged_header_is_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError, match="damaged header") as error:
        map_tensors(memoryview(data))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data_offsets": [8, 16]}, "does not begin where the one before it ends"),
        ({"data_offsets": [-8, 0]}, "does not begin where"),
        ({"data_offsets": [0]}, "does not begin where|ends"),
        ({"data_offsets": [0, 1 << 70]}, "ends outside of the file"),
        ({"data_offsets": [0, 4]}, "other bytes than its shape takes"),
        ({"data_offsets": [0, True]}, "not an integer in 'tensor/w/data_offsets'"),
        ({"data_offsets": "08"}, "no list"),
        ({"dtype": "F17"}, "unknown dtype 'F17'"),
        ({"dtype": None}, "no string"),
        ({"shape": [5]}, "other bytes"),
        ({"shape": [0]}, "other bytes"),
        ({"shape": [-2, -2]}, "impossible shape"),
        ({"shape": [4, *[1] * 40]}, "impossible shape"),
        ({"shape": [1 << 62, 4]}, "other bytes"),
        ({"shape": 4}, "no list"),
        ({"more": 1}, "unknown key 'more'"),
    ],
)
def test_a_tensor_outside_of_the_file_or_of_another_size_is_refused(
    change: dict[str, object], message: str
) -> None:
    with pytest.raises(ArtifactError, match=message):
        map_tensors(file({"w": {**HALF, **change}}))
    assert map_tensors(file({"w": HALF}))["w"].shape == (4,)


def test_tensors_neither_overlap_nor_leave_a_gap() -> None:
    with pytest.raises(ArtifactError, match="does not begin where the one before it ends"):
        map_tensors(file({"a": HALF, "b": {**HALF, "data_offsets": [4, 12]}}, bytes(12)))
    with pytest.raises(ArtifactError, match="bytes that belong to no tensor"):
        map_tensors(file({"a": HALF}, bytes(9)))


SCALED = {
    "w": {"dtype": "I8", "shape": [4, 2], "data_offsets": [0, 8]},
    "w.scale": {"dtype": "F32", "shape": [2, 1], "data_offsets": [8, 16]},
}


def narrow(facts: object, **changes: dict[str, object]) -> memoryview:
    header = {name: {**entry, **changes.get(name, {})} for name, entry in SCALED.items()}
    return file({**header, "__metadata__": {"narrow": json.dumps({"w": facts})}}, bytes(16))


@pytest.mark.parametrize(
    ("facts", "changes"),
    [
        ({"shape": [2, 4], "bits": 8}, {}),
        ({"shape": [4, 2], "bits": 4}, {}),
        ({"shape": [4, 2], "bits": 9}, {}),
        ({"shape": [1 << 40, 1 << 40], "bits": 4}, {}),
        ({"shape": [4, 2]}, {}),
        ({"shape": [4, 2], "bits": 8}, {"w.scale": {"shape": [2]}}),
        ({"shape": [4, 2], "bits": 8}, {"w.scale": {"shape": [2, 1], "dtype": "I32"}}),
        ({"shape": [4, 2], "bits": 8}, {"w": {"dtype": "BOOL"}}),
        ("x", {}),
        (None, {}),
    ],
)
def test_the_parts_of_a_shorter_type_have_to_fit_together(
    facts: object, changes: dict[str, dict[str, object]]
) -> None:
    with pytest.raises(ArtifactError, match="damaged header"):
        map_tensors(narrow(facts, **changes))
    assert map_tensors(narrow({"shape": [4, 2], "bits": 8}))["w"].dtype == np.float32


def test_a_scale_along_no_element_is_refused() -> None:
    entries = {
        "w": {"dtype": "I8", "shape": [0], "data_offsets": [0, 0]},
        "w.scale": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]},
        "__metadata__": {"narrow": '{"w": {"shape": [0], "bits": 8}}'},
    }
    with pytest.raises(ArtifactError, match="do not fit together"):
        map_tensors(file(entries, b""))


def test_weights_that_lie_unaligned_are_copied() -> None:
    weights = {"w": np.arange(32, dtype=np.float32)}
    data = np.frombuffer(b"0" + b"".join(serialize_weights(weights)), np.uint8)[1:]
    loaded = load_weights(data.data, describe_weights(weights))
    assert loaded["w"].ctypes.data % ALIGNMENT == 0
    np.testing.assert_array_equal(loaded["w"], weights["w"])
