"""Parts of tensors, the ONNX operators ``Slice`` and ``Split``."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from tvm import relax, te, tirx

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.builder import Builder
from ingot.targets.relax.expressions import (
    Size,
    as_expression,
    chosen,
    described,
    different,
    equal,
    is_number,
    is_polynomial,
    largest,
    same,
    shape_of,
    simplified,
    smallest,
    variables,
)
from ingot.targets.relax.operators.inputs import integers, optional, require_axes, tensor
from ingot.targets.relax.shape_values import Known
from ingot.targets.relax.shape_values.known import known_vector

# Beyond any size; ONNX has the largest integers stand for "to the end".
_FAR = 1 << 40


@dataclasses.dataclass(frozen=True)
class Part:
    """Positions along an axis: ``begin``, ``begin + step``, …, ``length`` of them."""

    begin: Size
    length: Size
    step: Size


def slice_(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Slice``: what lies outside of the data is left out, as ONNX says.

    Args:
        builder: The builder to emit to.
        inputs: The data, starts, ends, axes and steps; all but the data may be known, symbolic, or
            given when the model runs.
        attributes: ``starts``, ``ends`` and ``axes``, before opset 10.
    """
    data = tensor(builder, inputs[0])
    own = shape_of(data)
    if "starts" in attributes:
        named = [attributes["starts"], attributes["ends"], attributes.get("axes"), None]
        inputs = [data, *(None if each is None else known_vector(each) for each in named)]
    starts, ends = (integers(builder, entry) for entry in inputs[1:3])
    axes, steps = (
        None if entry is None else integers(builder, entry)
        for entry in (optional(inputs, 3), optional(inputs, 4))
    )
    parts = _parts(builder, own, starts, ends, axes, steps)
    return taken(builder, data, parts)


def _parts(
    builder: Builder,
    own: Sequence[Size],
    starts: Known,
    ends: Known,
    axes: Known | None,
    steps: Known | None,
) -> list[Part]:
    """Returns what is taken along each dimension."""
    count, rank = len(starts.flat), len(own)
    given_axes = list(range(count)) if axes is None else axes.flat
    given_steps = [1] * count if steps is None else steps.flat
    whole = [Part(0, size, 1) for size in own]
    known_axes = [axis for axis in given_axes if isinstance(axis, int)]
    if len(known_axes) == count:
        for start, end, axis, step in zip(
            starts.flat, ends.flat, known_axes, given_steps, strict=True
        ):
            if not -rank <= axis < rank:
                raise UnsupportedOperatorError(f"axis {axis} does not fit {rank} dimensions")
            size = own[axis % rank]
            whole[axis % rank] = part_of(builder, size, start, end, step)
        return whole
    require_axes(builder, given_axes, rank)
    bounds: list[Any] = []
    for axis, size in enumerate(own):
        here: list[Any] = [0, size, 1]
        for position, given in enumerate(given_axes):
            this = tirx.any(equal(given, axis), equal(given, axis - rank))
            values = (starts.flat[position], ends.flat[position], given_steps[position])
            here = [chosen(this, value, other) for value, other in zip(values, here, strict=True)]
        bounds += here
    bounds = builder.signed(bounds)
    return [
        part_of(builder, size, *bounds[3 * axis : 3 * axis + 3]) for axis, size in enumerate(own)
    ]


def part_of(builder: Builder, size: Size, start: Any, end: Any, step: Any) -> Part:
    """Returns the positions between two bounds that lie inside of a dimension."""
    if isinstance(step, int):
        if step == 0:
            raise UnsupportedOperatorError("a step is zero")
        begin, length = _bounds(size, start, end, step)
    else:
        builder.require(different(step, 0), "a step is zero")
        forwards, backwards = (_bounds(size, start, end, step, sign) for sign in (1, -1))
        begin, length = (
            chosen(step > 0, up, down) for up, down in zip(forwards, backwards, strict=True)
        )
    return Part(*_settled(builder, begin, length), step)


def _settled(builder: Builder, begin: Size, length: Size) -> tuple[Size, Size]:
    """Makes bounds expressions that kernels can have.

    Where nothing but an empty input would make them more than sums, an empty one is refused.
    """
    begin, length = simplified(begin), simplified(length)
    if is_polynomial(begin) and is_polynomial(length):
        return begin, length
    shorter = simplified(begin, least=1), simplified(length, least=1)
    if all(map(is_polynomial, shorter)):
        for variable in dict.fromkeys([*variables(begin), *variables(length)]):
            builder.require(variable >= 1, f"dimension {described(variable)} is zero")
        return shorter
    return builder.dimension(begin), builder.dimension(length)


def _bounds(size: Size, start: Any, end: Any, step: Any, sign: int = 0) -> tuple[Size, Size]:
    """Returns the first position and the number of positions; a step not known has a sign."""
    forwards = sign > 0 if sign else step > 0
    lowest, highest = (0, size) if forwards else (-1, size - 1)
    first = largest(0 if forwards else lowest, smallest(_from_front(start, size), highest))
    last = largest(lowest, smallest(_from_front(end, size), highest))
    span, stride = (last - first, step) if forwards else (first - last, 0 - step)
    if isinstance(stride, int) and stride == 1:
        length = largest(span, 0)
    elif isinstance(stride, int):
        length = _whole(largest(span, 0) + (stride - 1), stride)
    else:
        # Of the other sign it is not used, but must not divide by zero.
        divisor = tirx.max(stride, as_expression(1))
        length = tirx.floordiv(largest(span, 0) + divisor - 1, divisor)
    return (first if forwards else largest(first, 0)), length


def _whole(above: Size, below: int) -> Size:
    return above // below if isinstance(above, int) else tirx.floordiv(above, as_expression(below))


def _from_front(position: Any, size: Size) -> Size:
    """Returns a position counted from the front."""
    if isinstance(position, int):
        position = max(-_FAR, min(position, _FAR))
        return position + size if position < 0 else position
    return chosen(position < 0, position + size, position)


def taken(builder: Builder, data: relax.Expr, parts: Sequence[Part]) -> relax.Expr:
    """Returns the part of a tensor at given positions, all of them inside of it."""
    own = shape_of(data)
    cut = [
        axis
        for axis, (part, size) in enumerate(zip(parts, own, strict=True))
        if not (is_number(part.begin, 0) and is_number(part.step, 1) and same(part.length, size))
    ]
    if not cut:
        return data
    lengths = [as_expression(part.length) for part in parts]
    if any(is_number(part.length, 0) for part in parts):
        return builder.emit(relax.op.zeros(relax.ShapeExpr(lengths), data.ty.dtype))
    if all(_is_plain(parts[axis]) for axis in cut):
        begins = [as_expression(parts[axis].begin) for axis in cut]
        ends = [_end_of(parts[axis]) for axis in cut]
        steps = [as_expression(parts[axis].step) for axis in cut]
        return builder.emit(
            relax.op.strided_slice(data, cut, begins, ends, steps, assume_inbound=True)
        )
    begins = [as_expression(part.begin) for part in parts]
    steps = [as_expression(part.step) for part in parts]

    def compute(source: te.Tensor, first: Any, stride: Any, extents: Any) -> te.Tensor:
        def at(*place: tirx.Expr) -> tirx.Expr:
            return source(*(b + i * s for b, i, s in zip(first, place, stride, strict=True)))

        return te.compute(list(extents), at, name="slice")

    return builder.emit_te(compute, data, begins, steps, lengths, primfunc_name_hint="slice")


def _is_plain(part: Part) -> bool:
    """Whether TVM's own operator gives as many elements: it divides by the step itself."""
    if is_number(part.step, 1):
        return True
    numbers = all(isinstance(each, int) for each in (part.begin, part.length, part.step))
    return numbers and int(part.step) > 0


def _end_of(part: Part) -> tirx.Expr:
    if is_number(part.step, 1):
        return as_expression(simplified(as_expression(part.begin) + part.length))
    last = as_expression(part.begin) + (as_expression(part.length) - 1) * part.step
    return as_expression(simplified(last + 1))


def split(builder: Builder, inputs: list[Any], attributes: dict[str, Any]) -> relax.Expr:
    """Converts ``Split``.

    Args:
        builder: The builder to emit to.
        inputs: The data, and the sizes of the parts, known, symbolic, or given when the model runs.
        attributes: ``axis``; ``num_outputs``, where there are no sizes: parts of equal size, the
            last of which may be smaller; ``split``, before opset 13.
    """
    data = tensor(builder, inputs[0])
    own = shape_of(data)
    axis = attributes.get("axis", 0) % len(own)
    count = attributes["tvm_custom"]["num_outputs"]
    total = own[axis]
    sizes = _part_sizes(builder, inputs, attributes, total, count)
    if all(isinstance(size, int) for size in (*sizes, total)):
        places = [sum(sizes[:at]) for at in range(1, count)]
        if count > 1 and all(sizes):
            return relax.op.split(data, places, axis)
    parts = []
    begin: Size = 0
    for size in sizes:
        whole = [Part(0, each, 1) for each in own]
        whole[axis] = Part(builder.dimension(begin), builder.dimension(size), 1)
        parts.append(taken(builder, data, whole))
        begin = simplified(begin + size)
    return relax.Tuple(parts)


def _part_sizes(
    builder: Builder, inputs: list[Any], attributes: dict[str, Any], total: Size, count: int
) -> list[Size]:
    given = optional(inputs, 1)
    if given is None and "split" in attributes:
        given = known_vector(attributes["split"])
    if given is None:
        each = _whole(total + (count - 1), count)
        rest = simplified(total - each * (count - 1))
        builder.require(as_expression(rest) >= 0, f"{described(total)} has no {count} parts")
        return [each] * (count - 1) + [rest]
    sizes = integers(builder, given).flat
    for size in sizes:
        builder.require(as_expression(size) >= 0, "a part has a negative size")
    if len(sizes) != count:
        raise UnsupportedOperatorError(f"{len(sizes)} sizes are given for {count} parts")
    whole = simplified(sum(sizes[1:], start=sizes[0]))
    if not same(whole, total):
        builder.require(
            equal(whole, total),
            f"the parts' sizes do not add up to {described(total)}",
        )
    return list(sizes)
