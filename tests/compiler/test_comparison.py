"""How far a tensor is from another, and what each tolerance allows."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ingot.compiler.comparison import compare_tensors, compare_values
from ingot.passes.base import EXACT, FLOAT_ROUNDING, LOSSY, Tolerance, ToleranceKind

inf, nan = np.inf, np.nan


def compare(before, after, dtype=np.float32):
    return compare_tensors("t", np.array(before, dtype), np.array(after, dtype))


@pytest.mark.parametrize(
    ("before", "after", "absolute", "relative"),
    [
        ([1, 2], [1, 2], 0, 0),
        ([1, 2], [1, 2.5], 0.5, 0.25),
        ([-4, 0], [-4, 1], 1, 0.25),
        ([0, 0], [0, 1], 1, inf),
        ([0.0], [-0.0], 0, 0),
        ([nan, inf, -inf], [nan, inf, -inf], 0, 0),
        ([nan, 2], [nan, 3], 1, 0.5),
        ([inf, 2], [inf, 3], 1, 0.5),
        ([1], [nan], inf, inf),
        ([nan], [1], inf, inf),
        ([inf], [-inf], inf, inf),
        ([inf, 2], [1, 2], inf, inf),
        ([], [], 0, 0),
    ],
)
def test_errors(before, after, absolute, relative):
    found = compare(before, after)
    assert (found.max_abs_error, found.max_rel_error) == (absolute, relative)


def test_shape_and_dtype_are_named():
    found = compare_tensors("t", np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32))
    assert str(found) == "tensor 't': float32[2, 3] has become float32[3, 2]"
    found = compare_tensors("t", np.zeros(2, np.float32), np.zeros(2, np.float64))
    assert str(found) == "tensor 't': float32[2] has become float64[2]"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ([np.zeros(2)], [np.ones(2)], "tensor 'y[0]' differs by 1 absolute"),
        ([np.zeros(2)], [], "tensor 'y': 1 elements have become 0"),
        ([{"a": 1.0, "b": 2.0}], [{"a": 1.0, "b": 2.5}], "tensor 'y[0]['b']' differs by 0.5"),
        ({"a": 1.0}, {"b": 1.0}, "tensor 'y': the keys differ: 'a', 'b'"),
        ({"a": np.array(["x"], object)}, {"a": np.array(["z"], object)}, "1 strings differ"),
        (np.zeros(2), [np.zeros(2)], "tensor 'y': a tensor has become a sequence"),
        (None, np.zeros(2), "tensor 'y': nothing has become a tensor"),
    ],
)
def test_values_that_hold_others(before, after, said):
    assert all(d.within(EXACT) for d in compare_values("y", before, before))
    (found,) = [d for d in compare_values("y", before, after) if not d.within(EXACT)]
    assert said in str(found)


def test_integers_beyond_the_precision_of_doubles():
    found = compare([2**60], [2**60 + 1], np.int64)
    assert not found.within(EXACT)
    assert not found.within(FLOAT_ROUNDING)


def test_strings_and_complex_numbers_and_narrow_floats():
    assert compare(["a", "b"], ["a", "b"], object).max_abs_error == 0
    assert str(compare(["a", "b"], ["a", "c"], object)) == "tensor 't': 1 strings differ"
    assert compare([3 + 4j], [3 + 4j + 1j], np.complex64).max_rel_error == pytest.approx(0.2)
    narrow = compare([1, 2], [1, 2.25], ml_dtypes.bfloat16)
    assert (narrow.max_abs_error, narrow.is_float) == (0.25, True)
    assert not compare([1, 2], [1, 3], ml_dtypes.int4).is_float


@pytest.mark.parametrize(
    ("before", "after", "dtype", "tolerance", "allowed"),
    [
        ([1.0], [1.0], np.float32, EXACT, True),
        ([1.0], [1.0000001], np.float32, EXACT, False),
        ([1.0], [1.0000001], np.float32, FLOAT_ROUNDING, True),
        ([1.0], [1.001], np.float32, FLOAT_ROUNDING, False),
        # The scale is the tensor's: next to 1000, an error of 0.01 is rounding.
        ([1000.0, 0.0], [1000.0, 0.01], np.float32, FLOAT_ROUNDING, True),
        ([1], [2], np.int64, FLOAT_ROUNDING, False),
        ([True], [False], bool, FLOAT_ROUNDING, False),
        ([1], [2], np.int64, LOSSY, True),
        ([1.0], [7.0], np.float32, LOSSY, True),
        ([1.0], [inf], np.float32, LOSSY, False),
        ([1.0], [nan], np.float32, LOSSY, False),
        ([inf], [5.0], np.float32, LOSSY, True),
        ([nan], [nan], np.float32, LOSSY, True),
    ],
)
def test_tolerances(before, after, dtype, tolerance, allowed):
    assert compare(before, after, dtype).within(tolerance) == allowed


def test_no_tolerance_allows_another_shape():
    found = compare_tensors("t", np.zeros(2, np.float32), np.zeros(1, np.float32))
    assert not any(found.within(tolerance) for tolerance in (EXACT, FLOAT_ROUNDING, LOSSY))


arrays = hnp.arrays(
    np.float32,
    st.just(5),
    elements=st.floats(width=32, allow_nan=True, allow_infinity=True),
)


@given(arrays)
def test_a_tensor_does_not_differ_from_itself(array):
    assert compare_tensors("t", array, array.copy()).within(EXACT)


@given(arrays, arrays)
def test_exact_means_equal(left, right):
    equal = np.array_equal(left, right, equal_nan=True)
    assert compare_tensors("t", left, right).within(EXACT) == equal


@given(arrays, arrays, st.floats(0, 1), st.floats(1, 10))
def test_a_wider_tolerance_allows_no_less(left, right, rtol, factor):
    found = compare_tensors("t", left, right)
    narrow = Tolerance(ToleranceKind.FLOAT_ROUNDING, rtol=rtol)
    wide = Tolerance(ToleranceKind.FLOAT_ROUNDING, rtol=rtol * factor)
    assert not found.within(narrow) or found.within(wide)
