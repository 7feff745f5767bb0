"""The phases of a transposed convolution along an axis: ordinary convolutions of stride 1."""

from __future__ import annotations

import dataclasses
import math

from ingot.targets.cpu.kernels.writing.dimension import Dim, simplified


@dataclasses.dataclass(frozen=True)
class Phases:
    """Neighbouring phases along an axis that are computed by one convolution.

    Attributes:
        count: Number of phases.
        taps: For each tap of the convolution and each phase: the tap of the kernel.
        dilation: Distance of two taps of the convolution.
        before: Inputs that the first output reads before the first input; negative where it begins
            behind it.
    """

    count: int
    taps: tuple[tuple[int, ...], ...]
    dilation: int
    before: int

    @property
    def reach(self) -> int:
        """Distance of the first tap and the last."""
        return self.dilation * (len(self.taps) - 1)


@dataclasses.dataclass(frozen=True)
class TransposedAxis:
    """A spatial axis of a transposed convolution.

    Attributes:
        kernel: Taps.
        stride: Outputs per input.
        dilation: Distance of two taps.
        padding: Outputs that are cut off at the beginning.
        size: Inputs.
        result: Outputs.
    """

    kernel: int
    stride: int
    dilation: int
    padding: int
    size: Dim
    result: Dim

    @property
    def first(self) -> int:
        """Of the outputs of a phase, numbered from where the first tap meets, the first."""
        return self.padding // self.stride

    @property
    def count(self) -> Dim:
        """Outputs of each phase, some beyond the result's ends included."""
        # The result is size * stride + a number.
        over = simplified(self.result - self.size * self.stride)
        return simplified(
            self.size + (self.padding + number(over) - 1) // self.stride - self.first + 1
        )

    def phases(self, *, joined: bool) -> list[Phases]:
        """Returns the axis's phases in order; phases alike are joined if asked."""
        found: list[Phases] = []
        for remainder in range(self.stride):
            phase = self._phase(remainder)
            last = found[-1] if found else None
            if (
                joined
                and last is not None
                and (len(last.taps), last.before) == (len(phase.taps), phase.before)
            ):
                taps = tuple(
                    (*left, *right) for left, right in zip(last.taps, phase.taps, strict=True)
                )
                found[-1] = dataclasses.replace(last, count=last.count + 1, taps=taps)
            else:
                found.append(phase)
        return found

    def _phase(self, remainder: int) -> Phases:
        """The phase of outputs ``o`` with ``o + padding = remainder`` modulo the stride.

        Its taps are those whose distance from the first, in outputs, leaves that remainder.
        """
        taps = [tap for tap in range(self.kernel) if tap * self.dilation % self.stride == remainder]
        dilation = self.dilation // math.gcd(self.dilation, self.stride)
        if not taps:
            return Phases(1, (), 1, 0)
        offset = (taps[0] * self.dilation - remainder) // self.stride
        before = offset + dilation * (len(taps) - 1) - self.first
        return Phases(1, tuple((tap,) for tap in reversed(taps)), dilation, before)


def number(dim: Dim) -> int:
    """Returns a dimension that has to be a number for the sizes of a result to follow.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(dim, int):
        raise TypeError(f"the size of a transposed convolution's result does not follow: {dim}")
    return dim
