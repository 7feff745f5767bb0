"""Pooling: the ONNX operators ``MaxPool``, ``AveragePool``, ``LpPool`` and ``GlobalLpPool``."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tvm
from tvm import relax, te, tirx

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.operators.window import Size, Window, simplified, spatial_sizes

_RANKS = {
    kind: {rank: getattr(relax.op.nn, f"{kind}_pool{rank}d") for rank in (1, 2, 3)}
    for kind in ("max", "avg")
}
# Not merged with what surrounds it: sizes of such form TVM's fusion does not take for the same.
_OPAQUE = {"op_pattern": 8}


def max_pool(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``MaxPool``, with the indices of the maxima where they are asked for.

    Args:
        builder: The block builder to emit to.
        inputs: The image [N, C, ...].
        attributes: ``auto_pad``, ``ceil_mode``, ``dilations``, ``kernel_shape``, ``pads``,
            ``storage_order`` and ``strides``.

    Raises:
        UnsupportedOperatorError: More than three axes, or indices in an image of open size.
    """
    pooling = _Pooling(inputs[0], attributes)
    if attributes["tvm_custom"]["num_outputs"] > 1:
        if not all(isinstance(size, int) for size in pooling.sizes):
            raise UnsupportedOperatorError("indices in an image of open size are not lowered")
        return _with_indices(builder, pooling, bool(attributes.get("storage_order", 0)))
    if pooling.known_padding is not None and pooling.regular:
        return pooling.by_relax("max")
    return _reduce(builder, pooling, lambda dtype: tvm.te.min_value(dtype), te.max, "max_pool")


def average_pool(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``AveragePool``.

    Padding counts where ``count_include_pad`` asks for it; what lies beyond it, as with
    ``ceil_mode``, never does.

    Args:
        builder: The block builder to emit to.
        inputs: The image [N, C, ...].
        attributes: ``auto_pad``, ``ceil_mode``, ``count_include_pad``, ``dilations``,
            ``kernel_shape``, ``pads`` and ``strides``.

    Raises:
        UnsupportedOperatorError: More than three axes.
    """
    pooling = _Pooling(inputs[0], attributes)
    counted = bool(attributes.get("count_include_pad", 0))
    plain = not (pooling.ceil and counted)
    if pooling.known_padding is not None and pooling.regular and plain:
        return pooling.by_relax("avg", counted=counted)
    total = builder.emit(_sums(builder, pooling))
    counts = builder.emit(_counts(builder, pooling, counted))
    return relax.op.divide(total, counts)


def lp_pool(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``LpPool``: the p-norm of what lies under the window.

    Args:
        builder: The block builder to emit to.
        inputs: The image [N, C, ...].
        attributes: ``p``, and those of the other pools.

    Raises:
        UnsupportedOperatorError: More than three axes.
    """
    power = attributes.get("p", 2)
    terms = builder.emit(_power(builder, inputs[0], power))
    pooling = _Pooling(terms, attributes)
    if pooling.known_padding is not None and pooling.regular and not pooling.ceil:
        mean = builder.emit(pooling.by_relax("avg", counted=True))
        taps = relax.const(float(math.prod(pooling.window.kernel)), str(terms.ty.dtype))
        total = builder.emit(relax.op.multiply(mean, taps))
    else:
        total = builder.emit(_sums(builder, pooling))
    return _root(total, power)


def global_lp_pool(
    builder: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
) -> relax.Expr:
    """Converts ``GlobalLpPool``: the p-norm of each channel.

    Args:
        builder: The block builder to emit to.
        inputs: The image [N, C, ...].
        attributes: ``p``.
    """
    power = attributes.get("p", 2)
    axes = list(range(2, 2 + len(spatial_sizes(inputs[0]))))
    terms = builder.emit(_power(builder, inputs[0], power))
    return _root(builder.emit(relax.op.sum(terms, axes, keepdims=True)), power)


class _Pooling:
    """A pooling of an image: the window, and where it stands."""

    def __init__(self, image: relax.Expr, attributes: dict[str, Any]) -> None:
        self.image = image
        self.sizes = spatial_sizes(image)
        if len(self.sizes) not in (1, 2, 3):
            raise UnsupportedOperatorError(f"pooling over {len(self.sizes)} axes is not lowered")
        self.window = Window.of(attributes, attributes["kernel_shape"])
        self.ceil = bool(attributes.get("ceil_mode", 0))
        self.padding = self.window.padding(self.sizes, self.window.extents)

    @property
    def known_padding(self) -> list[int] | None:
        """Padding before, and behind, each axis; None where it is known only at run time."""
        sizes = [size for ends in zip(*self.padding, strict=True) for size in ends]
        return sizes if all(isinstance(size, int) for size in sizes) else None

    @property
    def regular(self) -> bool:
        """Whether no window but those that floor division counts begins in the image's padding."""
        if not self.ceil:
            return True
        return all(
            isinstance(after, int) and after + stride - 1 < extent
            for (_, after), stride, extent in zip(
                self.padding, self.window.strides, self.window.extents, strict=True
            )
        )

    @property
    def results(self) -> list[Size]:
        """Sizes of the result: with ``ceil_mode`` a last window may stand out of the padding."""
        found: list[Size] = []
        for size, (before, after), stride, extent in zip(
            self.sizes, self.padding, self.window.strides, self.window.extents, strict=True
        ):
            over = size + before + after - extent
            if not self.ceil:
                found.append(simplified(over // stride + 1))
                continue
            count = simplified((over + stride - 1) // stride + 1)
            # The last window begins in the image, or before it.
            begins = simplified((size + before + stride - 1) // stride)
            both = isinstance(count, int) and isinstance(begins, int)
            found.append(min(count, begins) if both else tirx.min(count, begins))
        return found

    def by_relax(self, kind: str, *, counted: bool = False) -> relax.Expr:
        """The pooling as Relax has it."""
        window = self.window
        return _RANKS[kind][len(self.sizes)](
            self.image,
            list(window.kernel),
            list(window.strides),
            self.known_padding,
            list(window.dilations),
            self.ceil,
            counted,
        )

    def at(self, place: Sequence[Any], taps: Sequence[Any]) -> list[Any]:
        """Where in the image a tap of an output is."""
        return [
            output * stride + tap * dilation - before
            for output, stride, tap, dilation, (before, _) in zip(
                place, self.window.strides, taps, self.window.dilations, self.padding, strict=True
            )
        ]

    def taps(self) -> list[Any]:
        """Axes over the window."""
        return [te.reduce_axis((0, taps), "tap") for taps in self.window.kernel]


def _inside(place: Sequence[Any], sizes: Sequence[Any]) -> Any:
    return tirx.all(
        *(
            condition
            for at, size in zip(place, sizes, strict=True)
            for condition in (at >= 0, at < size)
        )
    )


def _reduce(
    builder: relax.BlockBuilder,
    pooling: _Pooling,
    outside: Callable[[str], Any],
    combine: Any,
    name: str,
) -> relax.Expr:
    results = pooling.results

    def pool(image: te.Tensor) -> te.Tensor:
        taps = pooling.taps()

        def value(n: Any, c: Any, *place: Any) -> Any:
            at = pooling.at(place, taps)
            read = tirx.if_then_else(
                _inside(at, image.shape[2:]), image(n, c, *at), outside(str(image.dtype))
            )
            return combine(read, axis=taps)

        return te.compute((*image.shape[:2], *results), value, name=name)

    return builder.call_te(
        pool, pooling.image, primfunc_name_hint=name, primfunc_attrs=dict(_OPAQUE)
    )


def _sums(builder: relax.BlockBuilder, pooling: _Pooling) -> relax.Expr:
    return _reduce(builder, pooling, lambda dtype: tirx.const(0, dtype), te.sum, "sum_pool")


def _counts(builder: relax.BlockBuilder, pooling: _Pooling, counted: bool) -> relax.Expr:
    """How many elements each output is the average of, [1, 1, ...]."""
    image, results = pooling.image, pooling.results

    def count(image: te.Tensor) -> te.Tensor:
        def value(*place: Any) -> Any:
            total: Any = tirx.const(1, "int64")
            for axis, at in enumerate(place[2:]):
                before, after = pooling.padding[axis]
                size = image.shape[axis + 2]
                low, high = (-before, size + after) if counted else (0, size)
                first = at * pooling.window.strides[axis] - before
                step, taps = pooling.window.dilations[axis], pooling.window.kernel[axis]

                def below(
                    limit: Any, first: Any = first, step: int = step, taps: int = taps
                ) -> Any:
                    """Taps before a limit."""
                    reached = tirx.floordiv(limit - first + (step - 1), step)
                    return tirx.max(tirx.min(reached, taps), 0)

                total = total * tirx.max(below(high) - below(low), 1)
            return tirx.Cast(str(image.dtype), total)

        return te.compute((1, 1, *results), value, name="counts")

    return builder.call_te(
        count, image, primfunc_name_hint="pool_counts", primfunc_attrs=dict(_OPAQUE)
    )


def _with_indices(
    builder: relax.BlockBuilder, pooling: _Pooling, columns_first: bool
) -> relax.Expr:
    """The maxima, and where in the image as a whole they stand; of equal ones the first."""
    results = pooling.results

    def combine(left: Any, right: Any) -> tuple[Any, Any]:
        keep = tirx.any(left[1] > right[1], tirx.all(left[1] == right[1], left[0] < right[0]))
        return (
            tirx.Select(keep, left[0], right[0]),
            tirx.Select(keep, left[1], right[1]),
        )

    def identity(index_type: Any, dtype: Any) -> tuple[Any, Any]:
        return tirx.const(np.iinfo(np.int64).max, index_type), te.min_value(dtype)

    largest = te.comm_reducer(combine, identity, name="first_maximum")

    def pool(image: te.Tensor) -> Sequence[te.Tensor]:
        taps = pooling.taps()
        sizes = list(image.shape[2:])

        def value(n: Any, c: Any, *place: Any) -> Any:
            at = pooling.at(place, taps)
            inside = _inside(at, sizes)
            flat: Any = n * image.shape[1] + c
            offset: Any = 0
            axes = list(zip(at, sizes, strict=True))
            for position, size in reversed(axes) if columns_first else axes:
                offset = offset * size + position
            for size in sizes:
                flat = flat * size
            number = tirx.if_then_else(
                inside,
                tirx.Cast("int64", flat + offset),
                tirx.const(np.iinfo(np.int64).max, "int64"),
            )
            read = tirx.if_then_else(inside, image(n, c, *at), te.min_value(str(image.dtype)))
            return largest((number, read), axis=taps)

        found: Sequence[te.Tensor] = te.compute(
            (*image.shape[:2], *results), value, name="max_pool"
        )
        return found

    found = builder.emit_te(pool, pooling.image, primfunc_name_hint="max_pool_with_indices")
    indices, values = (relax.TupleGetItem(found, item) for item in range(2))
    return relax.Tuple([builder.emit(values), builder.emit(indices)])


def _power(builder: relax.BlockBuilder, data: relax.Expr, power: float) -> relax.Expr:
    if power == 2:
        return relax.op.multiply(data, data)
    size = builder.emit(relax.op.abs(data))
    return size if power == 1 else relax.op.power(size, relax.const(power, str(data.ty.dtype)))


def _root(total: relax.Expr, power: float) -> relax.Expr:
    if power == 1:
        return total
    if power == 2:
        return relax.op.sqrt(total)
    return relax.op.power(total, relax.const(1.0 / power, str(total.ty.dtype)))
