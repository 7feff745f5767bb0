"""Frames survive the way, and a stream that ends early is noticed."""

import io

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ingot.report.workers.protocol import read_frame, write_frame


def sent(header, arrays=None):
    stream = io.BytesIO()
    write_frame(stream, header, arrays)
    return stream.getvalue()


@given(
    st.dictionaries(
        st.text(max_size=8),
        hnp.arrays(
            st.sampled_from([np.float32, np.int64, np.uint8, np.bool_, np.float16]),
            hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
        ),
        max_size=3,
    )
)
def test_what_is_written_is_read(arrays):
    header, received = read_frame(io.BytesIO(sent({"a": 1}, arrays)))
    assert header == {"a": 1}
    assert list(received) == list(arrays)
    for name, array in arrays.items():
        assert received[name].dtype == array.dtype
        np.testing.assert_array_equal(received[name], array)


def test_arrays_arrive_aligned_for_vector_loads():
    _, received = read_frame(io.BytesIO(sent({}, {"x": np.ones(5, np.float32)})))
    assert received["x"].ctypes.data % 64 == 0


def test_a_strided_array_is_sent_as_its_values():
    array = np.arange(12).reshape(3, 4).T
    _, received = read_frame(io.BytesIO(sent({}, {"x": array})))
    np.testing.assert_array_equal(received["x"], array)


@pytest.mark.parametrize("array", [np.ones(2, ml_dtypes.bfloat16), np.array(["a"])])
def test_values_that_are_no_plain_numbers_are_refused(array):
    with pytest.raises(TypeError, match=r"x has dtype .* cannot be sent"):
        sent({}, {"x": array})


@pytest.mark.parametrize("kept", [0, 3, 10, -1])
def test_a_stream_that_ends_early_gives_none(kept):
    data = sent({"a": 1}, {"x": np.ones(5)})
    assert read_frame(io.BytesIO(data[:kept])) is None
