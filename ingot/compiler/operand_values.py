"""Values for operands that are no free data: divisors, indices, lengths, shapes, axes, scales.

A model may take any operand as an input. What an operator demands of it is told here by operator
and position; what is not told is free.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.compiler.sizes import Sizes, dimensions, size_of
from ingot.onnx_graph.indices import index_limit, places

Array = npt.NDArray[Any]

_ARITHMETIC = frozenset({
    "Abs", "Add", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Equal", "Greater",
    "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mul", "Neg", "ReduceMax", "ReduceMin",
    "ReduceSum", "Relu", "Sign", "Sub", "Sum",
})  # fmt: skip
_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")


@dataclasses.dataclass(frozen=True)
class Place:
    """Where an input is used, and what is known there.

    Attributes:
        node: The node that reads it.
        position: As which of its inputs.
        shape: The shape of the input's array.
        dtype: Its element type.
        sizes: The size of each symbol.
        generator: Where randomness comes from.
    """

    node: ir.Node
    position: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    sizes: Sizes
    generator: np.random.Generator

    def dims(self, index: int, *, output: bool = False) -> tuple[int, ...] | None:
        """The dimensions of another input, or of an output, where all of them are known."""
        values: Sequence[ir.Value | None] = self.node.outputs if output else self.node.inputs
        value = values[index] if index < len(values) else None
        if value is None or value.shape is None:
            return None
        try:
            return tuple(
                size_of("" if dim is None else dim, self.sizes) for dim in dimensions(value)
            )
        except (KeyError, SyntaxError):
            return None

    def axis(self, rank: int, default: int = 0) -> int:
        """The node's attribute ``axis``, counted from the front."""
        return int(self.node.attributes.get_int("axis", default)) % max(rank, 1)


_Maker = Callable[[Place], "Array | None"]


def operand_values(
    value: ir.Value, shape: tuple[int, ...], sizes: Sizes, generator: np.random.Generator
) -> Array | None:
    """Makes values that the readers of an input accept.

    Args:
        value: The input.
        shape: The shape of the array to make.
        sizes: The size of each symbol of the model.
        generator: Where randomness comes from.

    Returns:
        The array, or None where no reader demands anything.
    """
    assert value.dtype is not None
    dtype = value.dtype.numpy()
    limit = index_limit(value)
    if limit is not None:
        return generator.integers(0, limit, shape).astype(dtype)
    for node, position in places(value):
        makers = _MAKERS.get(node.op_type, {}) if node.domain == "" else {}
        maker = makers.get(position)
        if maker is not None:
            made = maker(Place(node, position, shape, dtype, sizes, generator))
            # What a reader demands may not fit a shape that contradicts it.
            if made is not None and np.size(made) == math.prod(shape):
                return np.asarray(made).reshape(shape).astype(dtype)
    readers = {node.op_type for node, _ in value.uses()}
    if dtype.kind in "iu" and dtype.itemsize > 1 and readers and readers <= _ARITHMETIC:
        return generator.integers(0 if dtype.kind == "u" else -9, 10, shape).astype(dtype)
    return None


def _divisor(place: Place) -> Array | None:
    if place.dtype.kind not in "iu":
        return None
    signs = place.generator.choice([-1, 1] if place.dtype.kind == "i" else [1], place.shape)
    return signs * place.generator.integers(1, 8, place.shape)


def _dividend(place: Place) -> Array | None:
    if place.dtype.kind not in "iu":
        return None
    return place.generator.integers(0 if place.dtype.kind == "u" else -50, 50, place.shape)


def _exponent(place: Place) -> Array | None:
    return place.generator.integers(0, 4, place.shape) if place.dtype.kind in "iu" else None


def _index(place: Place) -> Array | None:
    """Indices along one axis of the first operand: Gather, GatherElements, SequenceAt."""
    dims = place.dims(0)
    if not dims:
        return np.zeros(place.shape)
    return place.generator.integers(0, max(dims[place.axis(len(dims))], 1), place.shape)


def _distinct_index(place: Place) -> Array | None:
    """Indices of ScatterElements: the result of equal ones depends on an order."""
    dims = place.dims(0)
    if not dims or not all(dims):
        return None
    axis = place.axis(len(dims))
    extended = [*place.shape]
    extended[axis] = dims[axis]
    order = np.argsort(place.generator.random(extended), axis=axis)
    # Where there are more of them than entries, some are equal.
    return order.take(np.arange(place.shape[axis]) % max(dims[axis], 1), axis=axis)


def _tuples(place: Place) -> Array | None:
    """Index tuples of GatherND and ScatterND, all different where that is possible."""
    dims = place.dims(0)
    if not dims or not place.shape:
        return None
    offset = place.node.attributes.get_int("batch_dims", 0)
    reach = dims[offset : offset + place.shape[-1]]
    count, total = int(np.prod(place.shape[:-1])), int(np.prod(reach))
    flat = place.generator.choice(total, count, replace=count > total)
    return np.stack(np.unravel_index(flat, reach), axis=-1)


def _lengths(batch_axis: int, time_axis: int) -> _Maker:
    """Lengths of sequences, the first of them whole."""

    def make(place: Place) -> Array | None:
        dims = place.dims(0)
        if not dims or len(dims) <= max(batch_axis, time_axis):
            return None
        lengths = place.generator.integers(1, dims[time_axis] + 1, place.shape)
        return np.where(np.arange(lengths.size) == 0, dims[time_axis], lengths)

    return make


def _reverse_lengths(place: Place) -> Array | None:
    time = place.node.attributes.get_int("time_axis", 0)
    return _lengths(1 - time, time)(place)


def _result_shape(place: Place) -> Array | None:
    """The declared shape of the result; where it is open, one that always fits."""
    dims = place.dims(0, output=True)
    count = int(np.prod(place.shape))
    if dims is not None and len(dims) == count:
        return np.array(dims)
    if place.node.op_type == "Reshape":
        return np.array([1] * (count - 1) + [-1])
    return None if place.node.op_type in ("Resize", "Upsample") else np.full(count, 2)


def _ones(place: Place) -> Array:
    return np.ones(place.shape)


def _repeats(place: Place) -> Array:
    before, after = place.dims(0), place.dims(0, output=True)
    if before and after:
        return np.array([new // max(old, 1) for old, new in zip(before, after, strict=True)])
    return place.generator.integers(1, 3, place.shape)


def _padding(place: Place) -> Array:
    before, after = place.dims(0), place.dims(0, output=True)
    if before and after and place.shape == (2 * len(before),):
        added = [new - old for old, new in zip(before, after, strict=True)]
        return np.array([size // 2 for size in added] + [size - size // 2 for size in added])
    return np.zeros(place.shape)


def _factors(place: Place) -> Array:
    before, after = place.dims(0), place.dims(0, output=True)
    if before and after and place.shape == (len(before),):
        return np.array([new / max(old, 1) for old, new in zip(before, after, strict=True)])
    return np.ones(place.shape)


def _axes(place: Place) -> Array | None:
    """Axes that lead from the first operand's shape to that of the result."""
    before, after = place.dims(0), place.dims(0, output=True)
    count = int(np.prod(place.shape))
    kind = place.node.op_type
    if kind == "Squeeze" and before is not None:
        ones = [axis for axis, size in enumerate(before) if size == 1]
        return np.array(ones[:count]) if len(ones) >= count else None
    if kind.startswith("Reduce") and before is not None and after is not None:
        changed = [
            axis for axis in range(len(before))
            if len(after) == len(before) and after[axis] != before[axis]
        ]  # fmt: skip
        free = [axis for axis in range(len(before)) if axis not in changed]
        return np.array(sorted((changed + free)[:count]))
    return np.arange(count)


def _splits(place: Place) -> Array | None:
    dims = place.dims(0)
    count = int(np.prod(place.shape))
    if not dims or not count:
        return None
    axis = place.axis(len(dims))
    if not place.shape:
        return np.array(1)
    parts = [place.dims(index, output=True) for index in range(count)]
    if all(part and len(part) == len(dims) for part in parts):
        return np.array([part[axis] for part in parts if part])
    size = dims[axis]
    return np.array([size // count + (1 if index < size % count else 0) for index in range(count)])


def _top(place: Place) -> Array:
    before, after = place.dims(0), place.dims(0, output=True)
    size = before[place.axis(len(before), -1)] if before else 1
    kept = after[place.axis(len(after), -1)] if after else max(size // 2, 1)
    return np.full(place.shape, min(kept, size))


def _slice_bounds(place: Place) -> Array:
    bounds = {1: 0, 2: 1 << 30, 4: 1}
    if place.position == 3:
        return np.arange(int(np.prod(place.shape)))
    return np.full(place.shape, bounds[place.position])


def _range(place: Place) -> Array:
    after = place.dims(0, output=True)
    count = after[0] if after else 5
    return np.full(place.shape, (0, count, 1)[place.position])


def _scale(place: Place) -> Array | None:
    return 0.01 + 0.1 * place.generator.random(place.shape) if place.dtype.kind == "f" else None


def _variance(place: Place) -> Array:
    return 0.5 + place.generator.random(place.shape)


def _constant(number: float) -> _Maker:
    return lambda place: np.full(place.shape, number)


def _boxes(place: Place) -> Array:
    """Corners of boxes, the second beyond the first."""
    first = place.generator.random((*place.shape[:-1], 2))
    return np.concatenate([first, first + 0.1 + place.generator.random(first.shape)], axis=-1)


def _classes(place: Place) -> Array | None:
    dims = place.dims(0)
    return place.generator.integers(0, dims[1], place.shape) if dims and len(dims) > 1 else None


def _grid_size(place: Place) -> Array:
    """The size of an image, [N, C, ...], whose grid the result is, [N, ..., coordinates]."""
    count = int(np.prod(place.shape))
    theta, after = place.dims(0), place.dims(0, output=True)
    sizes = after[1:-1] if after is not None and len(after) == count else (3,) * (count - 2)
    return np.array([theta[0] if theta else 1, 1, *sizes])


def _result_length(place: Place) -> Array:
    after = place.dims(0, output=True)
    return np.full(place.shape, after[0] if after else 8)


def _mel_scalar(place: Place) -> Array:
    """Bins, length of the transform, sample rate, lower and upper edge in hertz."""
    after = place.dims(0, output=True)
    spectrum, bins = after if after is not None and len(after) == 2 else (9, 4)
    return np.full(place.shape, (bins, 2 * (spectrum - 1), 8000, 0, 4000)[place.position])


def _zero_point(place: Place) -> Array | None:
    return None if place.dtype in (np.dtype(np.uint8), np.dtype(np.int8)) else np.zeros(place.shape)


def _probability(place: Place) -> Array:
    return place.generator.random(place.shape)


def _unpooled(place: Place) -> Array | None:
    """Positions in the flattened result, each once."""
    after = place.dims(0, output=True)
    count = int(np.prod(place.shape))
    total = int(np.prod(after)) if after else 4 * count
    return place.generator.permutation(total)[:count] if total >= count else None


def _key_lengths(place: Place) -> Array | None:
    keys = place.dims(1)
    if not keys or len(keys) < 2:
        return None
    return place.generator.integers(1, keys[-2] + 1, place.shape)


def _image_size(place: Place) -> Array | None:
    after = place.dims(0, output=True)
    return np.array(after[2:]) if after and len(after) == 2 + int(np.prod(place.shape)) else None


def _block_size(place: Place) -> Array | None:
    """The block of Col2Im whose columns are as many as the first operand has."""
    before, after = place.dims(0), place.dims(0, output=True)
    rank = int(np.prod(place.shape))
    if not before or not after or len(after) != 2 + rank:
        return None
    attributes = place.node.attributes
    fills = {"strides": [1] * rank, "dilations": [1] * rank, "pads": [0] * 2 * rank}
    strides, dilations, pads = (attributes.get_ints(name, fill) for name, fill in fills.items())
    wanted = before[1] // max(after[1], 1)
    for block in itertools.product(range(1, wanted + 1), repeat=rank):
        steps = [
            (after[2 + a] + pads[a] + pads[a + rank] - dilations[a] * (block[a] - 1) - 1)
            // strides[a] + 1
            for a in range(rank)
        ]  # fmt: skip
        if np.prod(block) == wanted and np.prod(steps) == before[2]:
            return np.array(block)
    return None


_MAKERS: Mapping[str, Mapping[int, _Maker]] = {
    "AffineGrid": {1: _grid_size},
    "Attention": {6: _key_lengths},
    "BatchNormalization": {4: _variance},
    "Bernoulli": {0: _probability},
    "BitShift": {1: _exponent},
    "BlackmanWindow": {0: _result_length},
    "CenterCropPad": {1: _result_shape},
    "Clip": {1: _constant(-1), 2: _constant(1)},
    "ConstantOfShape": {0: _result_shape},
    "CumProd": {1: _constant(0)},
    "Col2Im": {1: _image_size, 2: _block_size},
    "CumSum": {1: _constant(0)},
    "DequantizeLinear": {1: _scale, 2: _zero_point},
    "DFT": {1: _constant(8), 2: _constant(1)},
    "Div": {0: _dividend, 1: _divisor},
    "Dropout": {1: _constant(0), 2: _constant(0)},
    "Expand": {1: _result_shape},
    "GRU": {4: _lengths(1, 0)},
    "Gather": {1: _index},
    "GatherElements": {1: _index},
    "GatherND": {1: _tuples},
    "HammingWindow": {0: _result_length},
    "HannWindow": {0: _result_length},
    "LSTM": {4: _lengths(1, 0)},
    "Loop": {0: _constant(3), 1: _ones},
    "MaxUnpool": {1: _unpooled, 2: _result_shape},
    "MelWeightMatrix": dict.fromkeys(range(5), _mel_scalar),
    "Mod": {0: _dividend, 1: _divisor},
    "NegativeLogLikelihoodLoss": {1: _classes},
    "NonMaxSuppression": {0: _boxes, 2: _constant(3), 3: _constant(0.5), 4: _constant(0)},
    "OneHot": {1: _constant(10)},
    "Pad": {1: _padding, 3: _axes},
    "Pow": {1: _exponent},
    "QuantizeLinear": {1: _scale, 2: _zero_point},
    "RNN": {4: _lengths(1, 0)},
    "Range": dict.fromkeys(range(3), _range),
    "Reshape": {1: _result_shape},
    "Resize": {2: _factors, 3: _result_shape},
    "ReverseSequence": {1: _reverse_lengths},
    "RoiAlign": {1: _boxes, 2: _constant(0)},
    "STFT": {1: _constant(4), 3: _constant(8)},
    "ScatterElements": {1: _distinct_index},
    "ScatterND": {1: _tuples},
    "SequenceAt": {1: _constant(0)},
    "SequenceErase": {1: _constant(0)},
    "SequenceInsert": {2: _constant(0)},
    "Slice": dict.fromkeys(range(1, 5), _slice_bounds),
    "SoftmaxCrossEntropyLoss": {1: _classes},
    "Split": {1: _splits},
    "SplitToSequence": {1: _splits},
    "Squeeze": {1: _axes},
    "Tile": {1: _repeats},
    "TopK": {1: _top},
    "Trilu": {1: _constant(0)},
    "Unsqueeze": {1: _axes},
    **{f"Reduce{kind}": {1: _axes} for kind in _REDUCTIONS},
}
