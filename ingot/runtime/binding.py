"""From what a caller gives to the arrays that a model takes: names, dtypes and shapes checked."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.errors import InputError, first_line
from ingot.runtime.alignment import aligned
from ingot.runtime.conversion import as_array, as_nested, as_strings
from ingot.runtime.manifest import STRING_DTYPE, TensorSpec
from ingot.runtime.narrow_types import dtype_name

Array = npt.NDArray[Any]

# The kinds of array that hold strings.
_STRING_KINDS = "OUST"


def bind_inputs(specs: Sequence[TensorSpec], inputs: Any, more: tuple[Any, ...]) -> list[Any]:
    """Returns the values in the order of the model's inputs; tensors as arrays.

    Args:
        specs: The model's inputs.
        inputs: A mapping from input names to values, or the first value.
        more: The other values, when the first is none.

    Raises:
        InputError: A name is unknown, an input is missing, cannot be read or is not an array.
    """
    if type(inputs) is dict and not more and len(inputs) == len(specs):
        # Nearly every call is such: tensors by name, of which nothing has to be read.
        values = [inputs.get(spec.name) for spec in specs]
        if all(map(_is_ready, specs, values)):
            return values
    names = [spec.name for spec in specs]
    given: Mapping[Any, Any]
    if isinstance(inputs, Mapping):
        if more:
            raise InputError("give either one mapping of inputs or arrays in order, not both")
        given = inputs
    else:
        ordered = (() if inputs is None else (inputs,)) + more
        if len(ordered) != len(names):
            raise InputError(
                f"{len(ordered)} inputs were given, the model takes {len(names)}: "
                f"{', '.join(names)}"
            )
        given = dict(zip(names, ordered, strict=True))
    if len(given) != len(names) or any(name not in given for name in names):
        unknown = [name for name in given if name not in names]
        missing = [name for name in names if name not in given]
        problem = f"no input is called {unknown[0]}" if unknown else f"{missing[0]} is missing"
        raise InputError(f"{problem}; the model's inputs are {', '.join(names)}")
    return [_value(spec, _read(given, spec.name)) for spec in specs]


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


def check_arrays(
    kind: str, specs: Sequence[TensorSpec], arrays: Mapping[str, Array], symbols: dict[str, int]
) -> None:
    """Checks names, dtypes and shapes of arrays; adds what symbolic dimensions are bound to.

    Raises:
        InputError: There is no such input or output, or an array does not fit.
    """
    by_name = {spec.name: spec for spec in specs}
    for name, array in arrays.items():
        if name not in by_name:
            raise InputError(
                f"no {kind} is called {name}; the model's {kind}s are {', '.join(by_name)}"
            )
        _check_tensor(kind, by_name[name], array, symbols)


def check_provided(
    specs: Sequence[TensorSpec], provided: Mapping[str, Array], symbols: dict[str, int]
) -> dict[str, Array]:
    """Checks the arrays that a caller gives for outputs.

    Raises:
        InputError: An array does not fit the output of its name, there is no such output, or two
            arrays share memory.
    """
    if not isinstance(provided, Mapping):
        raise InputError(
            f"outputs takes a mapping from names to arrays, not a {type(provided).__name__}"
        )
    by_name = {spec.name: spec for spec in specs}
    for name, array in provided.items():
        if name not in by_name:
            raise InputError(
                f"no output is called {name}; the model's outputs are {', '.join(by_name)}"
            )
        if by_name[name].onnx_type is not None or by_name[name].dtype == STRING_DTYPE:
            raise InputError(f"output {by_name[name]} cannot go to a caller's array")
        if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
            raise InputError(f"output {name} was given a {type(array).__name__}, not a NumPy array")
        _check_tensor("output", by_name[name], array, dict(symbols))
        if not (array.flags.c_contiguous and array.flags.writeable):
            raise InputError(f"the array for output {name} must be C-contiguous and writable")
    for (name, array), (other, its) in itertools.combinations(provided.items(), 2):
        if np.may_share_memory(array, its):
            raise InputError(f"the arrays for outputs {name} and {other} share memory")
    return dict(provided)


def lay_out(specs: Sequence[TensorSpec], values: Sequence[Any]) -> list[Any]:
    """Returns checked values as compiled code reads them, copies where they lie otherwise.

    Raises:
        InputError: There is no memory for a copy.
    """
    laid = []
    for spec, value in zip(specs, values, strict=True):
        try:
            laid.append(aligned(value) if spec.in_code else value)
        except MemoryError:
            raise InputError(f"there is no memory for a copy of input {spec}") from None
    return laid


def _is_ready(spec: TensorSpec, value: Any) -> bool:
    """Whether a value is an array of numbers as it is."""
    return type(value) is np.ndarray and spec.is_numeric and value.dtype.isnative


def _value(spec: TensorSpec, value: Any) -> Any:
    if _is_ready(spec, value):
        return value
    what = f"input {spec.name}"
    if spec.onnx_type is not None and not spec.onnx_type.startswith("tensor("):
        return as_nested(what, value)
    if spec.dtype == STRING_DTYPE and isinstance(value, (list, tuple)):
        value = np.array(value, dtype=object)  # NumPy would make strings of numbers beside strings
    array = as_array(what, value)
    if spec.dtype == STRING_DTYPE and array.dtype.kind in _STRING_KINDS:
        return as_strings(what, array)
    return array


def _read(given: Mapping[Any, Any], name: str) -> Any:
    """Returns an entry of a mapping, which may read it from anywhere."""
    try:
        return given[name]
    except Exception as error:
        raise InputError(f"input {name} cannot be read: {first_line(error)}") from error


def _check_tensor(kind: str, spec: TensorSpec, array: Array, symbols: dict[str, int]) -> None:
    if dtype_name(array.dtype) != spec.dtype:
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
