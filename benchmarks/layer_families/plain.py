"""Random layers that move or reduce: pooling, normalization, softmax, concatenation and the like.

As exporters write them: what the opset lacks is spelled out.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import onnx

from benchmarks.layer_families.sampling import Dice, by_dimension
from benchmarks.layer_families.writer import LayerWriter, Precision

Shape: TypeAlias = tuple[int, ...]
Write: TypeAlias = Callable[[LayerWriter, Sequence[str]], Sequence[str]]
"""Writes the layer of values; returns its results."""


@dataclasses.dataclass(frozen=True)
class Plain:
    """A layer without weights to speak of.

    Attributes:
        text: What it does to its inputs.
        inputs: Their shapes.
        results: Shapes of what it gives.
        write: Writes it.
    """

    text: str
    inputs: tuple[Shape, ...]
    results: tuple[Shape, ...]
    write: Write
    work = 0

    @property
    def batch(self) -> int:
        """The first dimension."""
        return self.inputs[0][0]

    @property
    def possible(self) -> bool:
        """Whether there is a result."""
        return all(min(shape) >= 1 for shape in self.results)

    @property
    def elements(self) -> int:
        """Of inputs and results."""
        return sum(map(math.prod, (*self.inputs, *self.results)))

    def __str__(self) -> str:
        """The layer in one line."""
        return f"{self.text} of {' and '.join(map(by_dimension, self.inputs))}"

    def build(self, precision: Precision, seed: int) -> onnx.ModelProto:
        """The layer as a model."""
        graph = LayerWriter(precision, seed)
        values = [
            graph.input(f"x{index}", np.float32, shape) for index, shape in enumerate(self.inputs)
        ]
        written = self.write(graph, values)
        for index, (value, shape) in enumerate(zip(written, self.results, strict=True)):
            graph.output(f"y{index}", value, shape)
        return graph.model()


def _images(dice: Dice) -> Shape:
    """The shape of a batch of images: 8 to 1,024 channels, 4 to 128 pixels."""
    return (dice.batch(), dice.channels(8, 1024), *dice.image(4, 128))


def _tokens(dice: Dice) -> Shape:
    """The shape of a batch of texts: 4 to 1,024 tokens of 32 to 2,048 features."""
    return (dice.batch(), dice.size(4, 1024), dice.channels(32, 2048))


def pooling(dice: Dice) -> Plain:
    """Maxima and means of windows of 2 to 5 pixels, of 3-D ones, and of whole images."""
    shape = _images(dice)
    if dice.chance(0.2):
        operator = dice.one_of("GlobalAveragePool", "GlobalAveragePool", "GlobalMaxPool")
        ends = (*shape[:2], *(1 for _ in shape[2:]))
        return Plain(operator, (shape,), (ends,), lambda graph, x: [graph.op(operator, *x)])
    if dice.chance(0.15):
        shape = (shape[0], shape[1], dice.size(2, 16), *shape[2:])
    taps = dice.one_of(2, 2, 3, 3, 3, 5)
    stride = dice.one_of(1, 2, 2, 2, taps)
    pad = taps // 2 if taps % 2 and dice.chance(0.7) else 0
    operator = dice.one_of("MaxPool", "MaxPool", "AveragePool")
    rank = len(shape) - 2
    sizes = tuple((size + 2 * pad - taps) // stride + 1 for size in shape[2:])
    attributes = {
        "kernel_shape": [taps] * rank, "strides": [stride] * rank, "pads": [pad] * 2 * rank,
    }  # fmt: skip
    return Plain(
        f"{operator} {taps}/{stride} pad {pad}",
        (shape,),
        ((*shape[:2], *sizes),),
        lambda graph, x: [graph.op(operator, *x, **attributes)],
    )


def normalization(dice: Dice) -> Plain:
    """Layer, RMS, group, instance, batch and local response normalization."""
    kind = dice.one_of("layer", "layer", "layer", "rms", "group", "group", "instance", "batch",
                       "local response")  # fmt: skip
    if kind in ("layer", "rms"):
        shape = _tokens(dice)
    elif kind == "group":
        batch, _, *sides = _images(dice)
        shape = (batch, 32 * dice.size(1, 20), *sides)
    else:
        shape = _images(dice)
    return Plain(
        f"{kind} normalization",
        (shape,),
        (shape,),
        lambda graph, x: [_normalized(graph, x[0], kind, shape)],
    )


def _normalized(graph: LayerWriter, x: str, kind: str, shape: Shape) -> str:
    if kind == "layer":
        return graph.layer_norm(x, shape[-1])
    if kind == "rms":
        square = graph.op("Mul", x, x)
        mean = graph.op("ReduceMean", square, axes=[-1], keepdims=1)
        deviation = graph.op("Sqrt", graph.op("Add", mean, graph.number(1e-6)))
        scale = graph.weight(shape[-1], scale=1.0, name="scale")
        return graph.op("Mul", graph.op("Div", x, deviation), scale)
    channels = shape[1]
    if kind == "batch":
        return graph.batch_norm(x, channels)
    if kind == "local response":
        return graph.op("LRN", x, size=5, alpha=1e-4, beta=0.75, bias=1.0)
    count = channels if kind == "instance" else 32
    ones, zeros = np.ones(count, np.float32), np.zeros(count, np.float32)
    if kind == "instance":
        return graph.op("InstanceNormalization", x, graph.array(ones), graph.array(zeros))
    groups = graph.reshape(x, shape[0], count, -1)
    normed = graph.op("InstanceNormalization", groups, graph.array(ones), graph.array(zeros))
    images = graph.reshape(normed, *shape)
    scaled = graph.op("Mul", images, graph.weight(channels, 1, 1, scale=1.0, name="scale"))
    return graph.op("Add", scaled, graph.weight(channels, 1, 1, scale=0.1, name="shift"))


def softmax(dice: Dice) -> Plain:
    """Of the last axis (scores of attention, classes) or of an image's channels."""
    kind = dice.one_of("scores", "scores", "classes", "channels")
    operator = "LogSoftmax" if kind == "classes" and dice.chance(0.5) else "Softmax"
    axis = 1 if kind == "channels" else -1
    if kind == "scores":
        shape = (dice.batch(), dice.size(1, 16), dice.size(1, 512), dice.size(4, 1024))
    elif kind == "classes":
        shape = (dice.size(1, 512), dice.size(2, 32000))
    else:
        shape = (dice.batch(), dice.size(2, 150), *dice.image(4, 256))
    return Plain(
        f"{operator} of axis {axis}",
        (shape,),
        (shape,),
        lambda graph, x: [graph.op(operator, *x, axis=axis)],
    )


def movement(dice: Dice) -> Plain:
    """Concatenation, splits, transposes, shuffles, resizing, slices, padding, space to depth."""
    kind = dice.one_of(_concat, _concat, _split, _transpose, _transpose, _shuffle, _resize, _resize,
                       _slice, _pad, _depth)  # fmt: skip
    return kind(dice)


def _concat(dice: Dice) -> Plain:
    shape = _images(dice)
    count = dice.size(2, 6)
    channels = [shape[1], *(dice.channels(8, 512) for _ in range(count - 1))]
    inputs = tuple((shape[0], part, *shape[2:]) for part in channels)
    result = (shape[0], sum(channels), *shape[2:])
    return Plain("Concat", inputs, (result,), lambda graph, x: [graph.op("Concat", *x, axis=1)])


def _split(dice: Dice) -> Plain:
    count = dice.size(2, 4)
    batch, part, *sides = _images(dice)
    shape = (batch, part * count, *sides)
    return Plain(
        f"Split in {count}",
        (shape,),
        ((batch, part, *sides),) * count,
        lambda graph, x: graph.ops("Split", count, *x, graph.ints(*[part] * count), axis=1),
    )


def _transpose(dice: Dice) -> Plain:
    order: Shape
    kind = dice.one_of("heads", "rows", "last", "first")
    if kind == "heads":
        shape = (dice.batch(), dice.size(4, 1024), dice.size(2, 16), dice.one_of(32, 64, 64, 128))
        order = (0, 2, 1, 3)
    elif kind == "rows":
        shape, order = _tokens(dice), (0, 2, 1)
    else:
        shape = _images(dice)
        order = (0, 2, 3, 1) if kind == "last" else (0, 3, 1, 2)
    return Plain(
        f"Transpose by {by_dimension(order)}",
        (shape,),
        (tuple(shape[axis] for axis in order),),
        lambda graph, x: [graph.transpose(x[0], *order)],
    )


def _shuffle(dice: Dice) -> Plain:
    groups = dice.one_of(2, 2, 3, 4, 8)
    batch, part, *sides = _images(dice)
    shape = (batch, groups * part, *sides)

    def write(graph: LayerWriter, x: Sequence[str]) -> list[str]:
        split = graph.reshape(x[0], batch, groups, part, *sides)
        return [graph.reshape(graph.transpose(split, 0, 2, 1, 3, 4), *shape)]

    return Plain(f"shuffle of {groups} groups", (shape,), (shape,), write)


def _resize(dice: Dice) -> Plain:
    mode = dice.one_of("nearest", "nearest", "linear", "linear", "cubic")
    shape = (dice.batch(), dice.channels(8, 512), *dice.image(4, 96))
    if dice.chance(0.7):
        factor = dice.one_of(2, 2, 4)
        sizes = tuple(factor * side for side in shape[2:])
    else:
        sizes = tuple(dice.size(max(2, side // 2), 3 * side) for side in shape[2:])
    coordinates = "asymmetric" if mode == "nearest" else dice.one_of("half_pixel", "align_corners")
    result = (*shape[:2], *sizes)
    rounded = {"nearest_mode": "floor"} if mode == "nearest" else {}
    return Plain(
        f"Resize, {mode} ({coordinates}), to {by_dimension(sizes)}",
        (shape,),
        (result,),
        lambda graph, x: [
            graph.op("Resize", *x, "", "", graph.ints(*result), mode=mode,
                     coordinate_transformation_mode=coordinates, **rounded)
        ],
    )  # fmt: skip


def _slice(dice: Dice) -> Plain:
    axis, step = dice.one_of((1, 1), (2, 1), (2, 2), (3, 2))
    shape = _images(dice)
    begin = 0 if step > 1 else shape[axis] // 4
    end = shape[axis] if step > 1 else begin + max(1, shape[axis] // 2)
    result = list(shape)
    result[axis] = -(-(end - begin) // step)
    return Plain(
        f"Slice {begin}:{end}:{step} of axis {axis}",
        (shape,),
        (tuple(result),),
        lambda graph, x: [
            graph.op("Slice", *x, *(graph.ints(value) for value in (begin, end, axis, step)))
        ],
    )


def _pad(dice: Dice) -> Plain:
    mode = dice.one_of("constant", "constant", "reflect", "edge")
    shape = _images(dice)
    before, after = dice.size(1, 3), dice.size(1, 3)
    result = (*shape[:2], *(size + before + after for size in shape[2:]))
    pads = (0, 0, before, before, 0, 0, after, after)
    return Plain(
        f"Pad ({mode}) {before} and {after}",
        (shape,),
        (result,),
        lambda graph, x: [graph.op("Pad", *x, graph.ints(*pads), mode=mode)],
    )


def _depth(dice: Dice) -> Plain:
    block = dice.one_of(2, 2, 3, 4)
    batch, channels, height, width = (dice.batch(), dice.channels(1, 256), *dice.image(4, 64))
    deep = (batch, channels * block**2, height, width)
    wide = (batch, channels, height * block, width * block)
    if dice.chance(0.5):
        return Plain(
            f"SpaceToDepth {block}", (wide,), (deep,),
            lambda graph, x: [graph.op("SpaceToDepth", *x, blocksize=block)],
        )  # fmt: skip
    mode = dice.one_of("DCR", "CRD")
    return Plain(
        f"DepthToSpace {block} {mode}", (deep,), (wide,),
        lambda graph, x: [graph.op("DepthToSpace", *x, blocksize=block, mode=mode)],
    )  # fmt: skip
