"""Images in another size, the ONNX operator ``Resize``: sizes or scales, known or not, any axes.

Positions are computed from the scale as it is given, as ONNX Runtime does, not from the sizes that
come of it: the two differ where a scaled size is rounded.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tvm import relax, te, tirx

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import (
    Size,
    as_expression,
    at_least,
    equal,
    largest,
    same,
    shape_of,
)
from ingot.targets.relax.loops import LoopFunction, load
from ingot.targets.relax.operators.inputs import integers, normalized_axes, optional, tensor
from ingot.targets.relax.shape_values import Known, known_of
from ingot.targets.relax.shape_values.elements import divide, multiply, to_integer
from ingot.targets.relax.shape_values.known import as_float, as_operand

_CROP = "tf_crop_and_resize"
# Where TVM's own operator, which the layout of images is carried through, gives the same.
_OPERATOR_MODES = frozenset({
    "half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel", "tf_half_pixel_for_nn",
})  # fmt: skip
_IMAGE_RANK = 4
# A size beyond memory, as a float: where a scale is larger than any.
_LARGEST = float(1 << 50)


@dataclasses.dataclass(frozen=True)
class _Axis:
    """How one axis is resized.

    Attributes:
        axis: Which one.
        size: Of the result.
        scale: A number, an expression, or the position of the scale in a tensor of them.
        exact: Whether the result's size is exactly the data's times the scale.
    """

    axis: int
    size: Size
    scale: Any
    exact: bool


@dataclasses.dataclass(frozen=True)
class _Form:
    """The attributes of the operator."""

    mode: str
    positions: str
    nearest: str
    cubic: float
    exclude: bool
    outside: float

    @classmethod
    def of(cls, attributes: dict[str, Any]) -> _Form:
        def text(name: str, default: str) -> str:
            return str(attributes.get(name, default.encode()).decode())

        return cls(
            text("mode", "nearest"),
            text("coordinate_transformation_mode", "half_pixel"),
            text("nearest_mode", "round_prefer_floor"),
            float(attributes.get("cubic_coeff_a", -0.75)),
            bool(attributes.get("exclude_outside", 0)),
            float(attributes.get("extrapolation_value", 0.0)),
        )


def resize(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Resize``.

    Args:
        builder: The builder to emit to.
        inputs: The data, the region of interest, scales and sizes: one of the two, known, symbolic,
            or given when the model runs.
        attributes: All that ONNX defines but ``antialias``.

    Raises:
        UnsupportedOperatorError: ``antialias``, or the kept aspect ratio of an open size.
    """
    if attributes.get("antialias", 0):
        raise UnsupportedOperatorError("antialias is not lowered")
    data = tensor(builder, inputs[0])
    own = shape_of(data)
    form = _Form.of(attributes)
    named = normalized_axes(list(attributes.get("axes", range(len(own)))), len(own))
    scales, sizes = optional(inputs, 2), optional(inputs, 3)
    if scales is not None and shape_of_input(scales) != [0]:
        axes, given = _by_scales(builder, own, named, scales)
    elif sizes is not None:
        axes, given = _by_sizes(builder, own, named, sizes, attributes), None
    else:
        raise UnsupportedOperatorError("neither scales nor sizes are given")
    region = optional(inputs, 1) if form.positions == _CROP else None
    if region is None:
        axes = [each for each in axes if not _is_kept(own, each)]
        if _suits_operator(own, axes, form):
            return _by_operator(data, own, axes, form)
    for each in axes:
        index = named.index(each.axis)
        data = _resized(builder, data, each, form, given, _bounds(region, index, len(named)))
    return data


def shape_of_input(entry: Any) -> list[Size]:
    """Returns the shape of an input, known or a tensor."""
    return list(entry.shape) if isinstance(entry, Known) else shape_of(entry)


def _is_kept(own: Sequence[Size], axis: _Axis) -> bool:
    return axis.exact and same(own[axis.axis], axis.size)


def _by_scales(
    builder: Builder, own: Sequence[Size], named: Sequence[int], scales: Any
) -> tuple[list[_Axis], relax.Expr | None]:
    known = known_of(scales)
    if known is not None:
        axes = []
        for axis, scale in zip(named, known.flat, strict=True):
            scaled = multiply(as_float(own[axis], "float32"), scale, "float32")
            size = builder.dimension(largest(to_integer(scaled), 0))
            axes.append(_Axis(axis, size, scale, _is_exact(own[axis], scale)))
        return axes, None
    function = LoopFunction(builder.node)
    buffer = function.tensor(scales, "scales")
    values = []
    for position, axis in enumerate(named):
        extent = function.size(own[axis]).astype("float32")
        scale = load(buffer, [position])
        is_none = tirx.any(tirx.isnan(scale), scale <= _number(0.0))
        function.body.append(function.refuse(is_none, "a scale is not a positive number"))
        scaled = tirx.min(scale * extent, _number(_LARGEST))
        values.append(scaled.astype("int64"))
    new = builder.sizes_by(function, values)
    axes = [
        _Axis(axis, size, position, False)
        for position, (axis, size) in enumerate(zip(named, new, strict=True))
    ]
    return axes, scales


def _is_exact(size: Size, scale: Any) -> bool:
    if not isinstance(scale, float):
        return False
    if isinstance(size, int):
        return float(np.float32(size) * np.float32(scale)).is_integer()
    return scale.is_integer()


def _by_sizes(
    builder: Builder,
    own: Sequence[Size],
    named: Sequence[int],
    sizes: Any,
    attributes: dict[str, Any],
) -> list[_Axis]:
    wanted = []
    for axis, size in zip(named, integers(builder, sizes).flat, strict=True):
        if not at_least(size, 1):
            fits = tirx.any(as_expression(size) >= 1, equal(own[axis], 0))
            builder.require(fits, "size {0} is not positive", size)
        wanted.append(builder.dimension(largest(size, 0)))
    ratios = [
        divide(as_float(size, "float32"), as_float(own[axis], "float32"), "float32")
        for axis, size in zip(named, wanted, strict=True)
    ]
    policy = attributes.get("keep_aspect_ratio_policy", b"stretch").decode()
    if policy != "stretch":
        if not all(isinstance(ratio, float) for ratio in ratios):
            raise UnsupportedOperatorError("the aspect ratio of an open size is not kept")
        ratio = (min if policy == "not_larger" else max)(ratios)
        ratios = [ratio] * len(ratios)
        wanted = [
            math.floor(float(np.float32(ratio) * np.float32(own[axis])) + 0.5) for axis in named
        ]
    return [
        _Axis(axis, size, ratio, policy == "stretch")
        for axis, size, ratio in zip(named, wanted, ratios, strict=True)
    ]


def _suits_operator(own: Sequence[Size], axes: Sequence[_Axis], form: _Form) -> bool:
    return (
        len(own) == _IMAGE_RANK
        and form.positions in _OPERATOR_MODES
        and all(each.axis >= _IMAGE_RANK - 2 and each.exact for each in axes)
        and not (form.mode == "cubic" and form.exclude)
        and (form.positions != "align_corners" or all(isinstance(size, int) for size in own))
        and bool(axes)
    )


def _by_operator(
    data: relax.Expr, own: Sequence[Size], axes: Sequence[_Axis], form: _Form
) -> relax.Expr:
    sizes = list(own[-2:])
    for each in axes:
        sizes[each.axis - 2] = each.size
    return relax.op.image.resize2d(
        data,
        size=relax.ShapeExpr([as_expression(size) for size in sizes]),
        roi=[0.0] * 4,
        layout="NCHW",
        method="nearest_neighbor" if form.mode == "nearest" else form.mode,
        coordinate_transformation_mode=form.positions,
        rounding_method=form.nearest,
        cubic_alpha=form.cubic,
        cubic_exclude=int(form.exclude),
        extrapolation_value=form.outside,
    )


def _bounds(region: Any, position: int, count: int) -> tuple[Any, int, int] | None:
    return None if region is None else (region, position, count + position)


def _number(value: float) -> tirx.Expr:
    return tirx.const(value, "float32")


def _resized(
    builder: Builder,
    data: relax.Expr,
    axis: _Axis,
    form: _Form,
    scales: relax.Expr | None,
    bounds: tuple[Any, int, int] | None,
) -> relax.Expr:
    """Resizes along one axis."""
    extents = shape_of(data)
    extents[axis.axis] = axis.size
    tensors: list[Any] = [] if scales is None else [scales]
    region = None
    if bounds is not None:
        region = known_of(bounds[0])
        if region is None:
            tensors.append(bounds[0])
    scale_is_number = not isinstance(axis.scale, tirx.Expr) or scales is not None
    # Whatever the scale is an expression of is handed over with it.
    sized = [] if scale_is_number else [builder.compute([axis.scale], "float32")]

    def compute(source: te.Tensor, sizes: Any, *given: te.Tensor) -> te.Tensor:
        if scales is not None:
            scale = given[0](as_expression(axis.scale))
        elif sized:
            scale = given[-1](as_expression(0))
        else:
            scale = as_operand(axis.scale, "float32")
        ends: list[tirx.Expr] = []
        if bounds is not None:
            for end in bounds[1:]:
                if region is not None:
                    ends.append(as_operand(region.flat[end], "float32"))
                else:
                    ends.append(given[len(tensors) - 1](as_expression(end)).astype("float32"))
        have, wanted = source.shape[axis.axis], sizes[axis.axis]

        def at(*place: tirx.Expr) -> tirx.Expr:
            i = place[axis.axis]
            position = _position(i.astype("float32"), have, wanted, scale, form.positions, ends)

            def read(index: tirx.Expr) -> tirx.Expr:
                inside = tirx.max(tirx.min(index, have - 1), as_expression(0))
                return source(*place[: axis.axis], inside, *place[axis.axis + 1 :])

            value = _VALUES[form.mode](read, position, have, form)
            if form.positions == _CROP:
                last = have.astype("float32") - _number(1)
                outside = tirx.any(position < _number(0), position > last)
                value = tirx.Select(outside, tirx.const(form.outside, value.ty.dtype), value)
            return value.astype(source.dtype)

        return te.compute(list(sizes), at, name="resize")

    sizes = [as_expression(size) for size in extents]
    return builder.emit_te(compute, data, sizes, *tensors, *sized, primfunc_name_hint="resize")


def _position(
    x: tirx.Expr,
    have: tirx.Expr,
    wanted: tirx.Expr,
    scale: tirx.Expr,
    positions: str,
    ends: Sequence[tirx.Expr],
) -> tirx.Expr:
    """Returns the position in the data of a position in the result."""
    half, one, zero = _number(0.5), _number(1), _number(0)
    size, result = have.astype("float32"), wanted.astype("float32")
    if positions == _CROP:
        start, end = ends
        steps = x * (end - start) * (size - one) / tirx.max(result - one, one)
        middle = half * (start + end) * (size - one)
        return tirx.Select(wanted > 1, start * (size - one) + steps, middle)
    centre = (x + half) / scale - half
    if positions == "half_pixel_symmetric":
        # What rounding of the size left over is shared by both ends.
        offset = size / _number(2) * (one - result / (scale * size))
        moved = offset + centre
    else:
        moved = {
            "half_pixel": lambda: centre,
            "pytorch_half_pixel": lambda: tirx.Select(wanted > 1, centre, zero),
            "asymmetric": lambda: x / scale,
            "align_corners": lambda: tirx.Select(
                wanted > 1, x * (size - one) / tirx.max(result - one, one), zero
            ),
            "tf_half_pixel_for_nn": lambda: (x + half) / scale,
        }[positions]()
    return tirx.Select(tirx.EQ(scale, one), x, moved)


def _nearest(
    read: Callable[[tirx.Expr], tirx.Expr], position: tirx.Expr, have: tirx.Expr, form: _Form
) -> tirx.Expr:
    del have
    half = _number(0.5)
    rounded = {
        "round_prefer_floor": lambda: tirx.ceil(position - half),
        "round_prefer_ceil": lambda: tirx.floor(position + half),
        "floor": lambda: tirx.floor(position),
        "ceil": lambda: tirx.ceil(position),
    }[form.nearest]()
    return read(rounded.astype("int64"))


def _linear(
    read: Callable[[tirx.Expr], tirx.Expr], position: tirx.Expr, have: tirx.Expr, form: _Form
) -> tirx.Expr:
    del form
    last = have.astype("float32") - _number(1)
    inside = tirx.max(tirx.min(position, last), _number(0))
    below = tirx.floor(inside)
    share = inside - below
    index = below.astype("int64")
    first, second = read(index).astype("float32"), read(index + 1).astype("float32")
    return first * (_number(1) - share) + second * share


def _cubic(
    read: Callable[[tirx.Expr], tirx.Expr], position: tirx.Expr, have: tirx.Expr, form: _Form
) -> tirx.Expr:
    below = tirx.floor(position)
    s, a = position - below, form.cubic
    index = below.astype("int64")

    def near(distance: tirx.Expr) -> tirx.Expr:
        curve = _number(a + 2) * distance - _number(a + 3)
        return curve * distance * distance + _number(1)

    def far(distance: tirx.Expr) -> tirx.Expr:
        curve = (_number(a) * distance - _number(5 * a)) * distance + _number(8 * a)
        return curve * distance - _number(4 * a)

    one, two = _number(1), _number(2)
    weights = [far(s + one), near(s), near(one - s), far(two - s)]
    places = [index + offset for offset in (-1, 0, 1, 2)]
    if form.exclude:
        weights = [
            tirx.Select(tirx.all(place >= 0, place < have), weight, _number(0))
            for place, weight in zip(places, weights, strict=True)
        ]
        total = weights[0] + weights[1] + weights[2] + weights[3]
        weights = [weight / total for weight in weights]
    terms = [
        read(place).astype("float32") * weight
        for place, weight in zip(places, weights, strict=True)
    ]
    return terms[0] + terms[1] + terms[2] + terms[3]


_VALUES = {"nearest": _nearest, "linear": _linear, "cubic": _cubic}
