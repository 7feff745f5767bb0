"""Tensors of types that NumPy lacks, to ONNX Runtime and back: ml_dtypes arrays at the border.

ONNX Runtime's Python interface knows bfloat16, 8-bit floats and integers of 2 and 4 bits only as
values of its own; integers of 2 and 4 bits lie packed in them, the first one in the lowest bits.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime as ort

Array = np.ndarray[Any, np.dtype[Any]]

# ONNX's numbers of element types, and the bits of an element.
_TYPES: dict[int, tuple[np.dtype[Any], int]] = {
    number: (np.dtype(getattr(ml_dtypes, name)), bits)
    for number, name, bits in (
        (16, "bfloat16", 16),
        (17, "float8_e4m3fn", 8),
        (18, "float8_e4m3fnuz", 8),
        (19, "float8_e5m2", 8),
        (20, "float8_e5m2fnuz", 8),
        (21, "uint4", 4),
        (22, "int4", 4),
        (23, "float4_e2m1fn", 4),
        (24, "float8_e8m0fnu", 8),
        (25, "uint2", 2),
        (26, "int2", 2),
    )
    if hasattr(ml_dtypes, name)
}
_NUMBERS = {dtype: number for number, (dtype, _) in _TYPES.items()}


def needs_value(dtype: np.dtype[Any]) -> bool:
    """Whether arrays of a dtype reach ONNX Runtime only as values of its own."""
    return dtype in _NUMBERS


def to_value(array: Array) -> tuple[ort.OrtValue, Array]:
    """Returns an array as ONNX Runtime's value, and the memory that has to outlive it."""
    number = _NUMBERS.get(array.dtype)
    if number is None:
        return ort.OrtValue.ortvalue_from_numpy(array), array
    bits = _TYPES[number][1]
    if bits == 16:
        memory = np.asarray(array, order="C").view(np.uint16)
    elif bits == 8:
        memory = np.asarray(array, order="C").view(np.uint8)
    else:
        # The value takes its shape from the array, and its elements from the array's first bytes.
        memory = np.zeros(array.shape, np.uint8)
        packed = _pack(array.reshape(-1).view(np.uint8), bits)
        memory.reshape(-1)[: packed.size] = packed
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(memory, number), memory


def from_value(value: ort.OrtValue) -> Any:
    """Returns what a value of ONNX Runtime holds; of a type that NumPy lacks as ml_dtypes array."""
    if not value.is_tensor() or value.element_type() not in _TYPES:
        return value.numpy()
    dtype, bits = _TYPES[value.element_type()]
    shape = tuple(value.shape())
    count = int(np.prod(shape, dtype=np.int64))
    size = (count * bits + 7) // 8
    raw = np.frombuffer(ctypes.string_at(value.data_ptr(), size), np.uint8)
    if bits >= 8:
        return raw.copy().view(dtype).reshape(shape)
    levels = _unpack(raw, bits)[:count]
    return levels.view(dtype).reshape(shape)


def run_session(
    session: ort.InferenceSession,
    names: Sequence[str],
    feeds: Mapping[str, Array],
    options: ort.RunOptions | None = None,
) -> list[Any]:
    """Runs a session on tensors of any type, and returns the outputs of these names.

    What NumPy has goes by NumPy, which takes sequences and strings too; of NumPy's own scalars ONNX
    Runtime takes only some.
    """
    feeds = {
        name: np.asarray(value) if isinstance(value, np.generic) else value
        for name, value in feeds.items()
    }
    if not has_special_types(session):
        return list(session.run(list(names), feeds, options))
    pairs = {name: to_value(array) for name, array in feeds.items()}
    results = session.run_with_ort_values(
        list(names), {name: value for name, (value, _) in pairs.items()}, options
    )
    return [from_value(result) for result in results]


def has_special_types(session: ort.InferenceSession) -> bool:
    """Whether an input or output of a session is of a type that NumPy lacks."""
    return any(_is_special(value.type) for value in (*session.get_inputs(), *session.get_outputs()))


_SPECIAL_KINDS = ("bfloat16", "float8", "float4", "int4", "uint4", "int2", "uint2")


def _is_special(kind: str) -> bool:
    """Whether ONNX Runtime's name of a tensor's type, ``tensor(int4)``, is one that NumPy lacks."""
    return kind.removeprefix("tensor(").startswith(_SPECIAL_KINDS)


def _pack(levels: Array, bits: int) -> Array:
    """Packs the lowest bits of bytes, the first ones lowest."""
    each = 8 // bits
    mask = (1 << bits) - 1
    padded = np.zeros(-(-levels.size // each) * each, np.uint8)
    padded[: levels.size] = levels & mask
    packed = np.zeros(padded.size // each, np.uint8)
    for position in range(each):
        packed |= padded[position::each] << np.uint8(bits * position)
    return packed


def _unpack(packed: Array, bits: int) -> Array:
    each = 8 // bits
    shifts = np.arange(each, dtype=np.uint8) * bits
    levels: Array = (packed[:, None] >> shifts) & np.uint8((1 << bits) - 1)
    return levels.reshape(-1)
