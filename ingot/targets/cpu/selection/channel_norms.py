"""Group and instance norms, in either layout: by deviations, in two passes over the image.

A sum of squares minus the square of the mean loses all digits where the mean is large against the
deviation, as in a bright, flat image. Here the mean is taken of differences from the channel's
first pixel, which of an image without contrast are zero, and the variance of differences from that
mean (Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance", 1983). Channels are
reduced by themselves, as they lie in memory; what groups add is arithmetic on a number per channel.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from tvm import relax, te, tirx

from ingot.targets.cpu.kernels.writing.emission import index
from ingot.targets.cpu.selection.base import Selection, Selector
from ingot.targets.cpu.selection.dimensions import shape_of


@dataclasses.dataclass(frozen=True)
class _Image:
    """A tensor of images.

    Attributes:
        channels: Number of channels.
        groups: Number of groups that they are normalized in.
        channels_last: Whether channels are the last axis, else they are the second.
    """

    channels: int
    groups: int
    channels_last: bool

    @property
    def per_group(self) -> int:
        return self.channels // self.groups

    def at(self, data: te.Tensor, image: Any, pixel: Sequence[Any], channel: Any) -> Any:
        place = (*pixel, channel) if self.channels_last else (channel, *pixel)
        return data(image, *place)

    def pixels(self, data: te.Tensor) -> list[Any]:
        """The sizes of an image."""
        return list(data.shape[1:-1] if self.channels_last else data.shape[2:])

    def taken_apart(self, place: Sequence[Any]) -> tuple[Any, list[Any], Any]:
        """The image, the pixel and the channel of a position."""
        image, *rest = place
        return (image, rest[:-1], rest[-1]) if self.channels_last else (image, rest[1:], rest[0])

    def count(self, data: te.Tensor) -> Any:
        """Pixels of an image, as float32."""
        sizes = self.pixels(data)
        if all(isinstance(size, (int, tirx.IntImm)) for size in sizes):
            return tirx.const(float(math.prod(int(size) for size in sizes)), "float32")
        total: Any = index(1)
        for size in sizes:
            total = total * size
        return tirx.Cast("float32", total)

    def difference(self, data: te.Tensor, image: Any, pixel: Sequence[Any], channel: Any) -> Any:
        """How far a pixel is from the channel's first."""
        first = [index(0)] * len(pixel)
        return self.at(data, image, pixel, channel) - self.at(data, image, first, channel)

    def means(self, data: te.Tensor) -> te.Tensor:
        """The mean difference from the first pixel, [images, channels]."""
        steps = self._steps(data)
        totals = te.compute(
            (data.shape[0], self.channels),
            lambda n, c: te.sum(self.difference(data, n, steps, c), axis=steps),
            "total",
        )
        return te.compute(totals.shape, lambda n, c: totals(n, c) / self.count(data), "mean")

    def variances(self, data: te.Tensor, means: te.Tensor) -> te.Tensor:
        """The variance of each channel, [images, channels]."""
        steps = self._steps(data)

        def square(n: Any, c: Any) -> Any:
            deviation = self.difference(data, n, steps, c) - means(n, c)
            return deviation * deviation

        totals = te.compute(
            (data.shape[0], self.channels),
            lambda n, c: te.sum(square(n, c), axis=steps),
            "squares",
        )
        return te.compute(totals.shape, lambda n, c: totals(n, c) / self.count(data), "variance")

    def _steps(self, data: te.Tensor) -> list[Any]:
        return [te.reduce_axis((index(0), size), "step") for size in self.pixels(data)]

    def statistics(self, epsilon: float) -> Any:
        """What to take off each channel, and what to multiply it with, [images, channels] each.

        Returns:
            A function of image, means, variances and factors.
        """
        size = self.per_group

        def compute(
            data: te.Tensor, means: te.Tensor, variances: te.Tensor, *factors: te.Tensor
        ) -> list[te.Tensor]:
            origin = [index(0)] * len(self.pixels(data))

            def first(n: Any, c: Any) -> Any:
                return self.at(data, n, origin, c)

            of_group = self._of_groups(first, means, variances) if size > 1 else None

            def centre(n: Any, c: Any) -> Any:
                if of_group is None:
                    return first(n, c) + means(n, c)
                group = tirx.floordiv(c, index(size))
                return first(n, group * index(size)) + of_group[0](n, group)

            def factor(n: Any, c: Any) -> Any:
                if of_group is None:
                    variance = variances(n, c)
                else:
                    variance = of_group[1](n, tirx.floordiv(c, index(size)))
                root = tirx.sqrt(variance + tirx.const(epsilon, "float32"))
                inverse = tirx.const(1.0, "float32") / root
                return inverse * factors[0](c) if factors else inverse

            return [
                te.compute(means.shape, centre, "centre"),
                te.compute(means.shape, factor, "factor"),
            ]

        return compute

    def _of_groups(
        self, first: Any, means: te.Tensor, variances: te.Tensor
    ) -> tuple[te.Tensor, te.Tensor]:
        """The mean of each group, from its first channel's first pixel, and its variance."""
        size, shape = self.per_group, (means.shape[0], index(self.groups))
        count = tirx.const(float(size), "float32")

        def relative(n: Any, g: Any, member: Any) -> Any:
            start = g * index(size)
            return first(n, start + member) - first(n, start) + means(n, start + member)

        member = te.reduce_axis((index(0), index(size)), "member")
        totals = te.compute(
            shape, lambda n, g: te.sum(relative(n, g, member), axis=member), "group_total"
        )
        mean = te.compute(shape, lambda n, g: totals(n, g) / count, "group_mean")

        def spread(n: Any, g: Any, member: Any) -> Any:
            deviation = relative(n, g, member) - mean(n, g)
            return variances(n, g * index(size) + member) + deviation * deviation

        again = te.reduce_axis((index(0), index(size)), "member")
        spreads = te.compute(
            shape, lambda n, g: te.sum(spread(n, g, again), axis=again), "group_spread"
        )
        return mean, te.compute(shape, lambda n, g: spreads(n, g) / count, "group_variance")

    def normalized(
        self, data: te.Tensor, centres: te.Tensor, factors: te.Tensor, *summands: te.Tensor
    ) -> te.Tensor:
        """The normalized images."""

        def element(*place: Any) -> Any:
            image, _, channel = self.taken_apart(place)
            value = (data(*place) - centres(image, channel)) * factors(image, channel)
            return value + summands[0](channel) if summands else value

        return te.compute(data.shape, element, "normalized")


def select_group_norm(selection: Selection, call: relax.Call) -> relax.Expr | None:
    """Selects the kernels of a group norm."""
    return _select(selection, call, int(call.attrs.num_groups))


def select_instance_norm(selection: Selection, call: relax.Call) -> relax.Expr | None:
    """Selects the kernels of an instance norm: every channel is a group."""
    return _select(selection, call, None)


def _select(selection: Selection, call: relax.Call, groups: int | None) -> relax.Expr | None:
    data, scale, shift = call.args
    shape = shape_of(data)
    if not shape or str(data.ty.dtype) != "float32":
        return None
    rank = len(shape)
    axis = int(call.attrs.channel_axis) % rank
    channels = shape[axis]
    others = [at for at in range(1, rank) if at != axis]
    if axis not in (1, rank - 1) or not others or not isinstance(channels, int):
        return None
    if sorted(int(at) % rank for at in call.attrs.axes) != others:
        return None
    image = _Image(channels, groups or channels, channels_last=axis != 1)
    builder = selection.builder

    def emit(function: Any, *operands: relax.Expr) -> relax.Expr:
        return builder.emit(builder.call_te(function, *operands))

    means = emit(image.means, data)
    variances = emit(image.variances, data, means)
    factors = [scale] if call.attrs.scale else []
    pair = emit(image.statistics(float(call.attrs.epsilon)), data, means, variances, *factors)
    centre, factor = (builder.emit(relax.TupleGetItem(pair, at)) for at in range(2))
    summands = [shift] if call.attrs.center else []
    return builder.call_te(image.normalized, data, centre, factor, *summands)


CHANNEL_NORM_SELECTORS: dict[str, Selector] = {
    "relax.nn.group_norm": select_group_norm,
    "relax.nn.instance_norm": select_instance_norm,
}
