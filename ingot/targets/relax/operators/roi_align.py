"""Regions of images resampled to one size, the ONNX operator ``RoiAlign``.

He et al., "Mask R-CNN" (2017): each bin of a region is the mean of points in it, and each point a
weighted mean of the four elements around it. Points in an empty region there are none; it is zero.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from tvm import relax, tirx
from tvm.tirx import stmt as statements

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import as_expression, shape_of
from ingot.targets.relax.loops import LoopFunction, load, nest, sequence, store
from ingot.targets.relax.value_checks import require_between, require_each

# The opset from which on boxes are shifted by half an element unless a node says otherwise.
_SHIFTED_SINCE = 16
# Points of a bin along an axis: of boxes as large as that no image is.
_MOST_POINTS = 1 << 16


def roi_align(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``RoiAlign``; that boxes are finite, and of images that there are, is checked.

    Args:
        builder: The builder to emit to.
        inputs: Images [images, channels, height, width], boxes [boxes, 4], and of which image each
            box is.
        attributes: ``mode``, ``output_height``, ``output_width``, ``sampling_ratio``,
            ``spatial_scale``, ``coordinate_transformation_mode``.

    Raises:
        UnsupportedOperatorError: The largest of a bin's points is asked for, of which ONNX Runtime
            compares the weighted elements; a type other than float32 and float64; a branch.
    """
    images, boxes, numbers = inputs
    kind = str(images.ty.dtype)
    if attributes.get("mode", b"avg") != b"avg":
        raise UnsupportedOperatorError("the largest of weighted elements is not lowered")
    if kind not in ("float32", "float64") or builder.taken is not None:
        raise UnsupportedOperatorError("boxes in a branch, or of short floats, are not lowered")
    own, count = shape_of(images), shape_of(boxes)[0]
    require_between(builder, numbers, [(0, own[0])], "number {0} is not one of {2} images")
    largest = tirx.const(float(np.finfo(kind).max), kind)

    def is_not_finite(x: tirx.Expr) -> tirx.Expr:
        return tirx.any(tirx.isnan(x), x > largest, x < -largest)

    require_each(builder, boxes, is_not_finite, "a box is not finite")
    problem = _Problem.of(attributes, kind)
    function = LoopFunction(builder.node)
    source, corners, of = (
        function.tensor(each, name)
        for each, name in zip(inputs, ("images", "boxes", "numbers"), strict=True)
    )
    shape = [corners.shape[0], source.shape[1], *map(as_expression, problem.sizes)]
    target = tirx.decl_buffer(shape, kind, "aligned")
    function.body += [
        nest(shape[:1], lambda box: problem.check(function, corners, box)),
        nest(shape, lambda *at: store(target, tirx.const(0.0, kind), at)),
        nest(
            [shape[0], *shape[2:]],
            lambda box, *at: problem.fill(target, source, load(of, [box]), corners, [box, *at]),
            shared=True,
        ),
    ]
    return function.call(builder, target, [count, own[1], *problem.sizes], "roi_align")


@dataclasses.dataclass(frozen=True)
class _Problem:
    """What a node asks for.

    Attributes:
        sizes: Bins along height and width.
        points: Of a bin along each axis; 0 for one per element.
        scale: From the boxes' coordinates to those of the images.
        shifted: Whether coordinates are those of elements' centres.
        kind: The type that is computed in.
    """

    sizes: tuple[int, int]
    points: int
    scale: float
    shifted: bool
    kind: str

    @classmethod
    def of(cls, attributes: Mapping[str, Any], kind: str) -> _Problem:
        since = attributes["tvm_custom"]["opset"] >= _SHIFTED_SINCE
        mode = attributes.get(
            "coordinate_transformation_mode", b"half_pixel" if since else b"output_half_pixel"
        )
        return cls(
            (int(attributes.get("output_height", 1)), int(attributes.get("output_width", 1))),
            int(attributes.get("sampling_ratio", 0)),
            float(attributes.get("spatial_scale", 1.0)),
            mode == b"half_pixel",
            kind,
        )

    def _number(self, value: float) -> tirx.Expr:
        return tirx.const(value, self.kind)

    def _extent(self, corners: tirx.Buffer, box: tirx.Expr, axis: int) -> tirx.Expr:
        """The length of a box along height (0) or width (1)."""
        low, high = (
            load(corners, [box, at]) * self._number(self.scale) for at in (1 - axis, 3 - axis)
        )
        extent = high - low
        return extent if self.shifted else tirx.max(extent, self._number(1.0))

    def _points(self, corners: tirx.Buffer, box: tirx.Expr, axis: int) -> tirx.Expr:
        """Points of a bin along an axis, as a float."""
        if self.points > 0:
            return self._number(float(self.points))
        return tirx.ceil(self._extent(corners, box, axis) / self._number(self.sizes[axis]))

    def check(self, function: LoopFunction, corners: tirx.Buffer, box: tirx.Expr) -> tirx.Stmt:
        """Refuses a box that is larger than any image, or that ends before it begins."""
        most = self._number(float(_MOST_POINTS))
        counts = [self._points(corners, box, axis) for axis in (0, 1)]
        too_large = tirx.any(*(count > most for count in counts))
        turned = counts[0] * counts[1] < self._number(0.0)
        message = "box {0} is too large to be sampled, or ends before it begins"
        return function.refuse(tirx.any(too_large, turned), message, box)

    def fill(
        self,
        target: tirx.Buffer,
        source: tirx.Buffer,
        number: tirx.Expr,
        corners: tirx.Buffer,
        place: list[tirx.Expr],
    ) -> tirx.Stmt:
        """Adds up the points of a bin, for all channels."""
        box, *bins = place
        bound: list[tirx.Stmt] = []

        def bind(name: str, value: tirx.Expr) -> tirx.Var:
            variable = tirx.Var(name, str(value.ty.dtype))
            bound.append(statements.Bind(variable, value))
            return variable

        points = [bind("points", self._points(corners, box, axis)) for axis in (0, 1)]
        count = bind("count", tirx.max(points[0] * points[1], self._number(1.0)))
        steps = []
        for axis in (0, 1):
            size = bind("bin", self._extent(corners, box, axis) / self._number(self.sizes[axis]))
            start = load(corners, [box, 1 - axis]) * self._number(self.scale)
            start = start - self._number(0.5) if self.shifted else start
            first = bind("first", start + bins[axis].astype(self.kind) * size)
            steps.append((first, bind("step", size / points[axis])))
        sizes = [tirx.Cast("int64", each) for each in points]

        def add(*at: tirx.Expr) -> tirx.Stmt:
            where = [
                first + (i.astype(self.kind) + self._number(0.5)) * step
                for i, (first, step) in zip(at, steps, strict=True)
            ]
            image = number.astype("int64")
            return self._add_point(target, source, image, place, where, count)

        return sequence([*bound, nest(sizes, add)])

    def _add_point(
        self,
        target: tirx.Buffer,
        source: tirx.Buffer,
        image: tirx.Expr,
        place: list[tirx.Expr],
        where: list[tirx.Expr],
        count: tirx.Expr,
    ) -> tirx.Stmt:
        box, *bins = place
        sides = list(source.shape)[2:]
        zero, one = self._number(0.0), self._number(1.0)
        inside = [
            tirx.all(at >= -one, at <= size.astype(self.kind))
            for at, size in zip(where, sides, strict=True)
        ]
        bound: list[tirx.Stmt] = []
        taps = []
        for at, size in zip(where, sides, strict=True):
            exact = tirx.min(tirx.max(at, zero), (size - 1).astype(self.kind))
            low = tirx.Var("low", "int64")
            part = tirx.Var("part", self.kind)
            bound += [
                statements.Bind(low, tirx.Cast("int64", exact)),
                statements.Bind(part, exact - low.astype(self.kind)),
            ]
            taps.append([(low, one - part), (tirx.min(low + 1, size - 1), part)])

        def add(channel: tirx.Expr) -> tirx.Stmt:
            total = zero
            for row, vertical in taps[0]:
                for column, horizontal in taps[1]:
                    element = load(source, [image, channel, row, column])
                    total = total + element * (vertical * horizontal)
            at = [box, channel, *bins]
            return store(target, load(target, at) + total / count, at)

        body = sequence([*bound, nest([source.shape[1]], add)])
        return statements.IfThenElse(tirx.all(*inside), body, None)
