"""Weights that processors without 8-bit dot products multiply exactly at full speed.

Their fastest instruction (x86's ``pmaddubsw``) adds products of unsigned activations and signed
weights in 16 bits, and saturates where the sum leaves them: 255 · (w0 + w1) above 32,767. Published
INT8 models lose points to that. If weights of one sign that are added so sum up to 128 at most, no
activation can make them saturate. With 4 weights per sum instead of 2, two such sums can be
added in 16 bits before they are widened, and a processor multiplies a third more in the same time.

A scale a little larger than the largest weight asks for brings that about. Unlike a range halved
for all weights, which tools use against saturation, it costs only what each channel's own weights
need: measured on reference models, 0.2 to 0.4 bits for sums of two, 0.5 to 0.8 for sums of four.

Which weights are added is the order in which kernels go through the reduction: channels last,
taps of a kernel's row one after the other, four at a time. Two neighbours of four are one sum, and
with sums of four, the same two of the next four join them.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ingot.passes.quantization.linear import LinearLayer

Wide = npt.NDArray[np.float64]
Sums = Literal[1, 2, 4]

_LARGEST_SUM = 128
_GROUP = 4


@dataclasses.dataclass(frozen=True)
class Headroom:
    """Which weights of a channel must not sum up to too much.

    Attributes:
        sums: int64 [inputs]: the sum that each input's weight belongs to.
        terms: The most weights in a sum.
    """

    sums: npt.NDArray[np.int64]
    terms: int

    @classmethod
    def of(cls, layer: LinearLayer, terms: Sums) -> Headroom | None:
        """Returns the sums of a layer's rows; None where nothing is to be heeded.

        Args:
            layer: The layer. Depthwise convolutions are summed in float32.
            terms: Weights that are added in 16 bits; 1 for none.
        """
        shape = layer.array().shape
        if terms == 1:
            return None
        if layer.node.op_type != "Conv":
            inputs = layer.to_rows(layer.array()).shape[1]
            return cls(_sums(np.arange(inputs), terms), terms)
        channels, *kernel = shape[1:]
        if len(kernel) > 2 or (layer.groups > 1 and channels == 1):
            return None
        # A sequence is an image of one row.
        kernel = [1] * (2 - len(kernel)) + kernel
        dilations = layer.node.attributes.get_ints("dilations", (1,)) or (1,)
        joined = layer.groups == 1 and dilations[-1] == 1
        per_tap = channels if joined else -(-channels // _GROUP) * _GROUP
        channel, tap_y, tap_x = np.indices((channels, *kernel))
        within = _sums(tap_x * per_tap + channel, terms)
        row = within.max(initial=0) + 1
        return cls((tap_y * row + within).reshape(-1), terms)

    def least_scales(self, rows: npt.NDArray[np.floating[Any]]) -> Wide:
        """The scales from which on the nearest integers of weights are safe.

        Args:
            rows: Weights, [channels, inputs].

        Returns:
            [channels].
        """
        # Rounding adds half to each term at most.
        room = _LARGEST_SUM - self.terms / 2
        reach = np.maximum(*(self._totals(sign * rows).max(axis=1) for sign in (1.0, -1.0)))
        return np.asarray(reach / room, np.float64)

    def is_kept(self, integers: npt.NDArray[np.generic]) -> bool:
        """Whether integers, [channels, inputs], are safe."""
        wide = integers.astype(np.float64)
        return all(
            float(self._totals(sign * wide).max(initial=0)) <= _LARGEST_SUM for sign in (1.0, -1.0)
        )

    def _totals(self, rows: npt.NDArray[np.floating[Any]]) -> Wide:
        totals = np.zeros((rows.shape[0], int(self.sums.max(initial=0)) + 1))
        np.add.at(totals.T, self.sums, np.maximum(rows, 0.0).T.astype(np.float64))
        return totals

    def budget(self, groups: int, channels: int) -> Budget:
        """Returns what is left of each sum while weights are rounded one after the other.

        Args:
            groups: Groups of a convolution, rounded side by side.
            channels: Output channels of a group.
        """
        return Budget(self, groups, channels)


class Budget:
    """What is left of each sum of each channel, while columns of weights are rounded in turn."""

    def __init__(self, headroom: Headroom, groups: int, channels: int) -> None:
        """Begins with nothing spent."""
        self._sums = headroom.sums
        shape = (groups, int(headroom.sums.max(initial=0)) + 1, channels)
        self._positive = np.full(shape, float(_LARGEST_SUM))
        self._negative = np.full(shape, float(_LARGEST_SUM))

    def spend(self, columns: npt.NDArray[np.int64], integers: Wide) -> Wide:
        """Returns integers drawn to what is left, and takes it.

        Args:
            columns: The column of each group, [groups].
            integers: What is wanted there, [groups, channels].
        """
        at = (np.arange(len(columns)), self._sums[columns])
        kept = np.clip(integers, -self._negative[at], self._positive[at])
        self._positive[at] -= np.maximum(kept, 0.0)
        self._negative[at] -= np.maximum(-kept, 0.0)
        return np.asarray(kept)


def _sums(places: npt.NDArray[np.int64], terms: int) -> npt.NDArray[np.int64]:
    """The sum that each place along the reduction belongs to."""
    group, pair = places // _GROUP, places % _GROUP // 2
    step = group // 2 if terms == 4 else group
    return step * 2 + pair
