"""From what a caller gives to the arrays that a model takes: names, dtypes and shapes checked."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.errors import InputError
from ingot.runtime.alignment import aligned
from ingot.runtime.manifest import TensorSpec

Array = npt.NDArray[Any]

# NumPy's name of the dtype of strings, and the kinds of array that hold them.
_STRINGS = "object"
_STRING_KINDS = "OUST"


def bind_inputs(specs: Sequence[TensorSpec], inputs: Any, more: tuple[Any, ...]) -> list[Any]:
    """Returns the values in the order of the model's inputs; tensors as arrays.

    Args:
        specs: The model's inputs.
        inputs: A mapping from input names to values, or the first value.
        more: The other values, when the first is none.

    Raises:
        InputError: A name is unknown, an input is missing or is not an array.
    """
    names = [spec.name for spec in specs]
    if isinstance(inputs, dict) and not more and len(inputs) == len(names):
        try:
            return [_value(spec, inputs[spec.name]) for spec in specs]
        except KeyError:
            pass  # a name is wrong: said below
    if isinstance(inputs, Mapping):
        if more:
            raise InputError("give either one mapping of inputs or arrays in order, not both")
        given = dict(inputs)
    else:
        values = (() if inputs is None else (inputs,)) + more
        if len(values) != len(names):
            raise InputError(
                f"{len(values)} inputs were given, the model takes {len(names)}: {', '.join(names)}"
            )
        given = dict(zip(names, values, strict=True))
    unknown = [name for name in given if name not in names]
    missing = [name for name in names if name not in given]
    if unknown or missing:
        problem = f"no input is called {unknown[0]}" if unknown else f"{missing[0]} is missing"
        raise InputError(f"{problem}; the model's inputs are {', '.join(names)}")
    return [_value(spec, given[spec.name]) for spec in specs]


def check_inputs(specs: Sequence[TensorSpec], values: Sequence[Any]) -> dict[str, int]:
    """Checks dtypes and shapes; returns what the symbolic dimensions are bound to.

    Raises:
        InputError: A dtype or a shape does not fit; names the input.
    """
    symbols: dict[str, int] = {}
    for spec, value in zip(specs, values, strict=True):
        if spec.onnx_type is not None:
            continue
        _check_tensor("input", spec, value, symbols)
    return symbols


def check_provided(
    specs: Sequence[TensorSpec], provided: Mapping[str, Array], symbols: dict[str, int]
) -> dict[str, Array]:
    """Checks the arrays that a caller gives for outputs.

    Raises:
        InputError: An array does not fit the output of its name, or there is no such output.
    """
    by_name = {spec.name: spec for spec in specs}
    for name, array in provided.items():
        if name not in by_name:
            raise InputError(
                f"no output is called {name}; the model's outputs are {', '.join(by_name)}"
            )
        if by_name[name].onnx_type is not None or by_name[name].dtype == _STRINGS:
            raise InputError(f"output {by_name[name]} cannot go to a caller's array")
        _check_tensor("output", by_name[name], array, dict(symbols))
        if not (array.flags.c_contiguous and array.flags.writeable):
            raise InputError(f"the array for output {name} must be C-contiguous and writable")
    return dict(provided)


def _value(spec: TensorSpec, value: Any) -> Any:
    if spec.onnx_type is not None and not spec.onnx_type.startswith("tensor("):
        return value
    array = value if isinstance(value, np.ndarray) else _as_array(spec, value)
    if spec.dtype == _STRINGS and array.dtype.kind in _STRING_KINDS:
        return array.astype(object)
    return aligned(array) if spec.in_code else array


def _as_array(spec: TensorSpec, value: Any) -> Array:
    if hasattr(value, "__dlpack__"):
        value = np.from_dlpack(value)
    try:
        return np.asarray(value)
    except ValueError as error:
        raise InputError(f"input {spec.name} is not an array: {error}") from error


@functools.cache
def _dtype_name(dtype: np.dtype[Any]) -> str:
    """The dtype's name; NumPy works it out at every call."""
    return dtype.name


def _check_tensor(kind: str, spec: TensorSpec, array: Array, symbols: dict[str, int]) -> None:
    if _dtype_name(array.dtype) != spec.dtype:
        raise InputError(f"{kind} {spec} was given dtype {array.dtype.name}")
    if array.ndim != len(spec.shape):
        raise InputError(
            f"{kind} {spec} has {len(spec.shape)} dimensions, the array {array.ndim}: "
            f"{list(array.shape)}"
        )
    if array.shape == spec.shape:
        return
    for dimension, size in zip(spec.shape, array.shape, strict=True):
        wanted = symbols.setdefault(dimension, size) if isinstance(dimension, str) else dimension
        if wanted != size:
            meaning = f" ({dimension} is {wanted} elsewhere)" if dimension != wanted else ""
            raise InputError(f"{kind} {spec} was given shape {list(array.shape)}{meaning}")
