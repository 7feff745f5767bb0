"""From what Python code holds to the values that a model takes, without changing what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.errors import InputError, first_line

Array = npt.NDArray[Any]

# No type of ONNX nests as deeply; a list that holds itself does.
_DEEPEST = 16


def as_array(what: str, value: Any) -> Array:
    """Returns a plain array of the machine's byte order, a view where the value is one.

    Args:
        what: What the value is for, for errors.
        value: Anything that NumPy or DLPack reads.

    Raises:
        InputError: It is no array, lies in another device's memory, or elements of it are masked.
    """
    array = value if type(value) is np.ndarray else _converted(what, value)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array


def _converted(what: str, value: Any) -> Array:
    if isinstance(value, np.ma.MaskedArray) and np.any(value.mask):
        raise InputError(f"{what} has masked elements: fill them, or leave them out")
    try:
        if not isinstance(value, (np.ndarray, type)) and hasattr(value, "__dlpack__"):
            value = np.from_dlpack(value)
        return np.asarray(value)
    except Exception as error:
        # Conversion calls the value's own code, which may raise anything.
        raise InputError(f"{what} is not an array: {first_line(error)}") from error


def as_strings(what: str, array: Array) -> Array:
    """Returns an array of strings as objects; bytes are UTF-8.

    Raises:
        InputError: An element is no string.
    """
    strings = array.astype(object)
    for place, element in np.ndenumerate(strings):
        if isinstance(element, bytes):
            try:
                strings[place] = element.decode()
            except UnicodeDecodeError:
                raise InputError(
                    f"{what} holds bytes at {list(place)} that are not UTF-8"
                ) from None
        elif not isinstance(element, str):
            raise InputError(
                f"{what} holds a {type(element).__name__} at {list(place)}, not a string"
            )
    return strings


def as_nested(what: str, value: Any, depth: int = 0) -> Any:
    """Returns a sequence, a map or an optional value, the tensors in it as plain arrays.

    Raises:
        InputError: A tensor in it cannot be read, or it nests too deeply.
    """
    if depth > _DEEPEST:
        raise InputError(f"{what} nests deeper than any value of a model")
    if isinstance(value, Mapping):
        return {key: as_nested(what, entry, depth + 1) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_nested(what, entry, depth + 1) for entry in value]
    if isinstance(value, np.ndarray) or hasattr(value, "__dlpack__"):
        return as_array(what, value)
    return value
