"""What Python code holds becomes what a model takes: the same values, or a refusal in one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ingot.errors import InputError
from ingot.runtime.conversion import as_array, as_nested, as_strings

VALUES = np.arange(6, dtype=np.float32).reshape(2, 3)


class Subclass(np.ndarray):
    pass


class Raising:
    """An array of a device whose library refuses, in two lines."""

    def __dlpack__(self, **_: Any) -> Any:
        raise RuntimeError("it lies on a device\nand there it stays")

    def __dlpack_device__(self) -> tuple[int, int]:
        return (2, 0)


class NoCapsule(Raising):
    def __dlpack__(self, **_: Any) -> Any:
        return "no capsule"


class NotAnArray:
    def __array__(self, *_: Any, **__: Any) -> Any:
        raise OSError("the file is gone\nfor good")


@pytest.mark.parametrize(
    "value",
    [
        VALUES.astype(">f4"),
        VALUES.view(Subclass),
        np.ma.masked_array(VALUES),
        np.asfortranarray(VALUES),
        VALUES[::-1][::-1],
        memoryview(VALUES),
    ],
    ids=["other byte order", "subclass", "nothing masked", "Fortran", "reversed", "memory"],
)
def test_arrays_keep_their_values(value: Any) -> None:
    array = as_array("x", value)
    assert type(array) is np.ndarray
    assert array.dtype == np.float32
    assert array.dtype.isnative
    np.testing.assert_array_equal(array, VALUES)


def test_a_plain_array_is_not_copied() -> None:
    assert as_array("x", VALUES) is VALUES


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ma.masked_equal(VALUES, 3), "x has masked elements: fill them"),
        (Raising(), "x is not an array: it lies on a device"),
        (NoCapsule(), "x is not an array: "),
        (NotAnArray(), "x is not an array: the file is gone"),
        ([[1.0], [1.0, 2.0]], "x is not an array: "),
    ],
)
def test_what_is_no_array_is_refused_in_one_line(value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        as_array("x", value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "value",
    [np.array(["a", "é"]), np.array([b"a", "é".encode()]), np.array(["a", "é".encode()], object)],
)
def test_strings_are_strings(value: np.ndarray) -> None:
    assert as_strings("x", value).tolist() == ["a", "é"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, "a"], r"x holds a int at \[0\], not a string"),
        (["a", None], r"holds a NoneType at \[1\]"),
        (["a", np.nan], r"holds a float at \[1\]"),
        ([b"\xff", "a"], r"holds bytes at \[0\] that are not UTF-8"),
    ],
)
def test_what_is_no_string_is_not_made_one(value: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_strings("x", np.array(value, object))


def test_arrays_within_sequences_and_maps_are_plain_too() -> None:
    (first, second), only = as_nested("x", [(VALUES.astype(">f4"), VALUES), {"a": VALUES}])
    for array in (first, second, only["a"]):
        assert array.dtype.isnative
        np.testing.assert_array_equal(array, VALUES)
    assert as_nested("x", None) is None


def holding_itself() -> list[Any]:
    values: list[Any] = []
    values.append(values)
    return values


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (holding_itself, "nests deeper than any value"),
        (lambda: [np.ma.masked_equal(VALUES, 3)], "has masked elements"),
        (lambda: {"a": Raising()}, "is not an array"),
    ],
)
def test_nested_values_that_cannot_be_read_are_refused(
    make: Callable[[], Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        as_nested("x", make())
