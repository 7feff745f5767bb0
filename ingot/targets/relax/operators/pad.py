"""Elements around a tensor, the ONNX operator ``Pad``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import relax, te, tirx, topi

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import (
    Size,
    as_expression,
    at_least,
    is_number,
    largest,
    shape_of,
    simplified,
)
from ingot.targets.relax.operators.inputs import (
    constants,
    integers,
    normalized_axes,
    optional,
    tensor,
)
from ingot.targets.relax.operators.slicing import Part, taken
from ingot.targets.relax.shape_values import Known, known_of
from ingot.targets.relax.shape_values.known import known_vector

_MODES = ("constant", "edge", "reflect", "wrap")


def pad(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Pad``; less than nothing around a tensor is cut off from it.

    Args:
        builder: The builder to emit to.
        inputs: The data; elements before and behind per axis, known, symbolic, or given when the
            model runs; the value of what is constant; and the axes.
        attributes: ``mode``; ``pads`` and ``value``, before opset 11.

    Raises:
        UnsupportedOperatorError: A mode that ONNX does not know, or axes that are not known.
    """
    data = tensor(builder, inputs[0])
    own = shape_of(data)
    mode = attributes.get("mode", b"constant").decode()
    if mode not in _MODES:
        raise UnsupportedOperatorError(f"mode {mode!r} is not lowered")
    given = known_vector(attributes["pads"]) if "pads" in attributes else inputs[1]
    pads = integers(builder, given).flat
    axes = list(range(len(own)))
    if optional(inputs, 3) is not None:
        axes = normalized_axes(constants(inputs[3], "the axes are"), len(own))
    before: list[Size] = [0] * len(own)
    after: list[Size] = [0] * len(own)
    for position, axis in enumerate(axes):
        before[axis], after[axis] = pads[position], pads[len(axes) + position]
    value = _value(builder, inputs, attributes)
    static = all(isinstance(size, int) and size >= 0 for size in (*before, *after))
    if static and mode == "constant" and _is_constant(value):
        filled = None if value is None else known_of(value)
        fill = _fill(filled, (), str(data.ty.dtype))
        return builder.emit_te(topi.nn.pad, data, before, after, fill)
    data = _cut(builder, data, before, after)
    return _padded(builder, data, _kept(builder, before), _kept(builder, after), mode, value)


def _value(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> Any:
    given = optional(inputs, 2)
    if isinstance(given, Known):
        return builder.tensor_of(given)
    if given is None and attributes.get("value"):
        return relax.const(attributes["value"], tensor(builder, inputs[0]).ty.dtype)
    return given


def _is_constant(value: Any) -> bool:
    known = None if value is None else known_of(value)
    return value is None or (known is not None and known.is_constant)


def _kept(builder: Builder, sizes: Sequence[Size]) -> list[Size]:
    return [builder.dimension(largest(simplified(size), 0)) for size in sizes]


def _cut(
    builder: Builder, data: relax.Expr, before: Sequence[Size], after: Sequence[Size]
) -> relax.Expr:
    parts = []
    for size, first, last in zip(shape_of(data), before, after, strict=True):
        start = largest(simplified(0 - first), 0)
        length = simplified(size - start - largest(simplified(0 - last), 0))
        if not at_least(length, 0):
            builder.require(as_expression(length) >= 0, "more is cut off than there is")
        parts.append(Part(builder.dimension(start), builder.dimension(length), 1))
    return taken(builder, data, parts)


def _padded(
    builder: Builder,
    data: relax.Expr,
    before: Sequence[Size],
    after: Sequence[Size],
    mode: str,
    value: Any,
) -> relax.Expr:
    own = shape_of(data)
    around = list(zip(before, after, strict=True))
    touched = [not (is_number(first, 0) and is_number(last, 0)) for first, last in around]
    if not any(touched):
        return data
    if mode != "constant":
        for size, ends, moved in zip(own, around, touched, strict=True):
            if moved:
                _require_room(builder, size, ends, mode)
    extents = [
        as_expression(builder.dimension(simplified(size + first + last)))
        for size, (first, last) in zip(own, around, strict=True)
    ]
    firsts = [as_expression(size) for size in before]
    scalar = [] if _is_constant(value) else [value]
    filled = None if value is None else known_of(value)

    def compute(source: te.Tensor, shifts: Any, sizes: Any, *given: te.Tensor) -> te.Tensor:
        fill = _fill(filled, given, source.dtype)

        def at(*place: tirx.Expr) -> tirx.Expr:
            inner = [i - shift for i, shift in zip(place, shifts, strict=True)]
            if mode != "constant":
                return source(
                    *(
                        _source(mode, i, size) if moved else i
                        for i, size, moved in zip(inner, source.shape, touched, strict=True)
                    )
                )
            inside = [
                tirx.all(i >= 0, i < size)
                for i, size, moved in zip(inner, source.shape, touched, strict=True)
                if moved
            ]
            return tirx.if_then_else(tirx.all(*inside), source(*inner), fill)

        return te.compute(list(sizes), at, name="pad")

    return builder.emit_te(compute, data, firsts, extents, *scalar, primfunc_name_hint="pad")


def _require_room(builder: Builder, size: Size, ends: tuple[Size, Size], mode: str) -> None:
    """Has it checked that there is as much data as is repeated around it."""
    least: Size = 1
    for end in ends:
        least = largest(least, {"edge": 1, "wrap": end, "reflect": end + 1}[mode])
    if not at_least(simplified(size - least), 0):
        builder.require(
            as_expression(size) >= as_expression(least),
            f"mode {mode} asks for more around the data than it has",
        )


def _fill(filled: Any, given: Sequence[te.Tensor], dtype: str) -> tirx.Expr:
    if given:
        return given[0](*(as_expression(0) for _ in given[0].shape))
    return tirx.const(filled.scalar() if isinstance(filled, Known) else 0, dtype)


def _source(mode: str, position: tirx.Expr, size: tirx.Expr) -> tirx.Expr:
    """Returns the position inside of the data that a position around it repeats."""
    if mode == "edge":
        return tirx.max(tirx.min(position, size - 1), as_expression(0))
    if mode == "wrap":
        inside = tirx.Select(position < 0, position + size, position)
        return tirx.Select(position >= size, position - size, inside)
    mirrored = tirx.max(position, as_expression(0) - position)
    return tirx.min(mirrored, (size - 1) * 2 - mirrored)
