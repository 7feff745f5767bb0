"""Finding weights that a shorter type holds exactly.

Between a model's weights and those that code reads lie layouts, packing and padding, in many
places. None of them changes a value, so it is enough to look at the result: whether float16 holds
it, or whether, by scales that the model has, it is integers. What is found is proven, bit by bit.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.onnx_graph.matching import constant, constant_tensor, producer
from ingot.runtime.narrow_weights import Narrow

Floats = npt.NDArray[np.float32]
Array = npt.NDArray[Any]

# Smaller weights are not worth a copy when they are loaded.
_SMALLEST = 4096
_SAMPLES = 256
_NIBBLES = (-8, 7)
_MATRIX = 2


@dataclasses.dataclass(frozen=True)
class Scales:
    """Scales and zero points by which a model dequantizes constants.

    Attributes:
        scale: float32 of one element, a vector, or a matrix of scales of blocks.
        zero: int32 of the same shape.
    """

    scale: Floats
    zero: npt.NDArray[np.int32]


def known_scales(*models: ir.Model) -> list[Scales]:
    """Returns the scales by which models make floats of constant integers, each once.

    That is DequantizeLinear, or, as quantizers of weights alone write it, Mul behind a Cast.
    """
    found: dict[tuple[bytes, bytes], Scales] = {}
    for model in models:
        for node in model.graph:
            scales = _scales_of(node)
            if scales is not None:
                found[scales.scale.tobytes(), scales.zero.tobytes()] = scales
    return list(found.values())


def _scales_of(node: ir.Node) -> Scales | None:
    scale = zero = None
    if node.op_type == "DequantizeLinear" and constant_tensor(node.inputs[0]) is not None:
        scale = constant(node.inputs[1])
        zero = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    if node.op_type == "Mul":
        for position, value in enumerate(node.inputs):
            if producer(value, "Cast", "Sub") is not None:
                scale = constant(node.inputs[1 - position])
    if scale is None or scale.dtype != np.float32 or scale.size == 0:
        return None
    # A vector that is shaped to be broadcast is one.
    squeezed = np.squeeze(scale) if scale.ndim != _MATRIX else scale
    if squeezed.ndim == _MATRIX and 1 in squeezed.shape:
        squeezed = squeezed.reshape(-1)
    zeros = np.zeros(squeezed.shape, np.int32)
    if zero is not None and zero.size in (1, squeezed.size):
        zeros = zeros + zero.astype(np.int32).reshape(squeezed.shape if zero.size > 1 else ())
    return Scales(squeezed, zeros) if squeezed.ndim <= _MATRIX else None


def narrowed(array: Array, known: Sequence[Scales] = ()) -> Narrow | None:
    """Returns weights in a shorter type that holds them exactly.

    Args:
        array: Weights as code reads them.
        known: Scales of the model's integer weights.

    Returns:
        The weights, or None where they are no float32, few, or not exact in a shorter type.
    """
    if array.dtype != np.float32 or array.size < _SMALLEST:
        return None
    array = np.ascontiguousarray(array)
    sample = _Sample.of(array)
    for scales in known:
        for scale, zero in _arrangements(array.shape, scales):
            found = _integers(array, sample, scale, zero)
            if found is not None:
                return found
    return _half(array, sample)


@dataclasses.dataclass(frozen=True)
class _Sample:
    """Some elements of an array, and where they are."""

    values: Floats
    places: tuple[npt.NDArray[np.intp], ...]

    @classmethod
    def of(cls, array: Floats) -> _Sample:
        generator = np.random.default_rng(array.size)
        flat = generator.integers(0, array.size, _SAMPLES)
        # Zeros fit everything.
        nonzero = np.flatnonzero(array.reshape(-1)[: _SAMPLES * _SAMPLES])[:_SAMPLES]
        flat = np.concatenate([flat, nonzero])
        return cls(array.reshape(-1)[flat], np.unravel_index(flat, array.shape))

    def of_runs(self, runs: Array, shape: tuple[int, ...]) -> Array:
        """The elements of scales that belong to the sample."""
        found: Array = runs[
            tuple(
                place // (size // count)
                for place, size, count in zip(self.places, shape, runs.shape, strict=True)
            )
        ]
        return found


def _half(array: Floats, sample: _Sample) -> Narrow | None:
    for shorten in (_as_float16, _as_upper_halves):
        part = shorten(sample.values)
        if part is None:
            continue
        whole = shorten(array)
        if whole is not None:
            return Narrow(array.shape, whole, bits=16)
    return None


def _as_float16(array: Floats) -> Array | None:
    with np.errstate(over="ignore"):
        short = array.astype(np.float16)
    return short if _same_bits(short.astype(np.float32), array) else None


def _as_upper_halves(array: Floats) -> Array | None:
    bits = array.view(np.uint32)
    return None if np.any(bits & 0xFFFF) else (bits >> 16).astype(np.uint16)


def _integers(array: Floats, sample: _Sample, scale: Floats, zero: Array) -> Narrow | None:
    of_sample = sample.of_runs(scale, array.shape)
    if not _same_bits(_rounded(sample.values, of_sample) * of_sample, sample.values):
        return None
    runs = [(count, size // count) for size, count in zip(array.shape, scale.shape, strict=True)]
    split = [extent for run in runs for extent in run]
    along = [extent for count, _ in runs for extent in (count, 1)]
    values, factors = array.reshape(split), scale.reshape(along)
    integers = _rounded(values, factors)
    if not _same_bits(integers * factors, values):
        return None
    low, high = int(integers.min()), int(integers.max())
    if _NIBBLES[0] <= low and high <= _NIBBLES[1]:
        return Narrow(array.shape, _pairs(integers), scale, bits=4)
    if _within(low, high, np.iinfo(np.int8)):
        return Narrow(array.shape, integers.astype(np.int8).reshape(array.shape), scale)
    raised = integers + zero.reshape(along)
    if not _within(int(raised.min()), int(raised.max()), np.iinfo(np.uint8)):
        return None
    stored = raised.astype(np.uint8).reshape(array.shape)
    return Narrow(array.shape, stored, scale, zero.astype(np.int16))


def _rounded(values: Floats, scale: Floats) -> Floats:
    with np.errstate(all="ignore"):
        rounded = np.rint(values / scale)
    # Adding zero makes a negative one positive, as it comes from integers.
    return np.asarray(np.where(np.abs(rounded) < 512, rounded, 0) + np.float32(0), np.float32)


def _within(low: int, high: int, limits: np.iinfo[Any]) -> bool:
    return limits.min <= low and high <= limits.max


def _pairs(integers: Floats) -> npt.NDArray[np.uint8]:
    raised = (integers.reshape(-1) + 8).astype(np.uint8)
    even = np.pad(raised, (0, raised.size % 2))
    return np.ascontiguousarray(even[0::2] | even[1::2] << 4)


def _same_bits(left: Floats, right: Floats) -> bool:
    return np.array_equal(
        np.ascontiguousarray(left).view(np.uint32), np.ascontiguousarray(right).view(np.uint32)
    )


def _arrangements(shape: tuple[int, ...], known: Scales) -> Iterator[tuple[Floats, Array]]:
    """How scales may lie along a tensor: shapes that runs of its elements share."""
    for lay in _layouts(shape, known.scale.shape):
        yield lay(known.scale).astype(np.float32), lay(known.zero)


def _layouts(shape: tuple[int, ...], scales: tuple[int, ...]) -> Iterator[Any]:
    rank, count = len(shape), math.prod(scales)
    if count == 1:
        yield lambda array: array.reshape([1] * rank)
        return
    if len(scales) == 1:
        for axis, size in enumerate(shape):
            if size == count:
                ones = [1] * rank
                ones[axis] = -1
                yield lambda array, ones=ones: array.reshape(ones)
        if _is_panels(shape, count):
            yield lambda array: _panels(array[None], shape)
    if len(scales) == 2:
        for blocks, turned in ((scales, False), (scales[::-1], True)):
            if rank == 2 and not any(size % runs for size, runs in zip(shape, blocks, strict=True)):
                yield lambda array, turned=turned: array.T if turned else array
            # Packed weights: blocks along the reduction, of columns in panels.
            if rank == 3 and _is_panels(shape, blocks[1]) and shape[1] % blocks[0] == 0:
                yield lambda array, turned=turned: _panels(array.T if turned else array, shape)


def _is_panels(shape: tuple[int, ...], columns: int) -> bool:
    """Whether a tensor is [panel, ..., panel width] for a number of columns."""
    held = shape[0] * shape[-1] if len(shape) > 1 else 0
    return held - shape[-1] < columns <= held if held else False


def _panels(rows: Array, shape: tuple[int, ...]) -> Array:
    """[runs, columns] as [panel, runs, 1, ..., panel width], the last column repeated."""
    missing = shape[0] * shape[-1] - rows.shape[1]
    padded = np.pad(rows, ((0, 0), (0, missing)), mode="edge")
    split = padded.reshape(len(rows), shape[0], shape[-1]).swapaxes(0, 1)
    return (
        split.reshape(shape[0], len(rows), *[1] * (len(shape) - 3), shape[-1])[..., : shape[-1]]
        if len(shape) > 2
        else split.reshape(shape)
    )
