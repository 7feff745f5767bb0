"""Arrays of ml_dtypes reach compiled code and come back."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from ingot.runtime.alignment import ALIGNMENT
from ingot.runtime.narrow_types import HELD_AS, from_code, held_dtype, named_dtype, to_code


@pytest.mark.parametrize("name", [*HELD_AS, "bfloat16", "float16"])
@pytest.mark.parametrize("shape", [(), (0, 2), (2, 3)])
def test_arrays_come_back(name: str, shape: tuple[int, ...]) -> None:
    array = np.asarray(np.random.default_rng(0).integers(-2, 3, shape)).astype(named_dtype(name))
    tensor = to_code(array)
    assert tensor.dtype == held_dtype(name)
    back = from_code(tensor, name)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back.astype(np.float32), array.astype(np.float32))


def test_bfloat16_is_not_copied() -> None:
    array = np.ones(4, ml_dtypes.bfloat16)
    view = from_code(to_code(array), "bfloat16")
    array[2] = 5
    assert view[2] == 5


def test_small_integers_are_aligned() -> None:
    held = to_code(np.ones(3, ml_dtypes.int4))
    assert held.ctypes.data % ALIGNMENT == 0
