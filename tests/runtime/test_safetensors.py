"""Weights survive the safetensors format, aligned, and as its own library reads them."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ingot.compiler.artifact_writer import serialize_weights
from ingot.errors import ArtifactError, ModelError
from ingot.runtime.safetensors import DTYPES, PADDING_PREFIX, map_tensors

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


@pytest.mark.parametrize(
    "data", [b"", b"1234", b"\xff" * 16, b"\x02" + bytes(7) + b"{]", b"\x02" + bytes(7) + b"[]"]
)
def test_a_damaged_header_is_refused(data: bytes) -> None:
    with pytest.raises(ArtifactError, match="damaged header"):
        map_tensors(memoryview(data))
