"""Drawing the sizes of random layers: seeded, and log-uniform, since sizes differ by factors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

_Option = TypeVar("_Option")
# Most networks have multiples of eight; those that were searched or pruned have any number.
_ROUND_CHANNELS = 0.8
_CHANNELS_STEP = 8


class Dice:
    """A seeded source of sizes."""

    def __init__(self, *key: int) -> None:
        """Begins a sequence of draws.

        Args:
            key: Equal keys give equal draws.
        """
        self._generator = np.random.default_rng(key)

    def size(self, low: int, high: int) -> int:
        """An integer from low to high, log-uniform: each doubling is as likely."""
        drawn = math.exp(self._generator.uniform(math.log(low), math.log(high + 1)))
        return min(int(drawn), high)

    def channels(self, low: int, high: int) -> int:
        """A size that is a multiple of eight in four of five cases."""
        drawn = self.size(low, high)
        if self.chance(_ROUND_CHANNELS):
            return max(1, round(drawn / _CHANNELS_STEP)) * _CHANNELS_STEP
        return drawn

    def near(self, channels: int, factor: int) -> int:
        """As many channels as others, up to so many times more or fewer."""
        if self.chance(0.25):
            return channels
        return self.channels(max(1, channels // factor), channels * factor)

    def one_of(self, *options: _Option) -> _Option:
        """One of some options, each as likely; an option that is given twice is so twice."""
        return options[int(self._generator.integers(len(options)))]

    def chance(self, probability: float) -> bool:
        """True with a probability."""
        return bool(self._generator.random() < probability)

    def image(self, low: int, high: int, rank: int = 2) -> tuple[int, ...]:
        """Sizes of an image: equal ones in two of three cases, else the first is scaled."""
        side = self.size(low, high)
        if self.chance(2.0 / 3.0):
            return (side,) * rank
        low, high = max(low, side // 2), min(high, 2 * side)
        return (side, *(self.size(low, high) for _ in range(rank - 1)))

    def batch(self) -> int:
        """One example in three of four cases, else two to eight."""
        return 1 if self.chance(0.75) else self.size(2, 8)


def by_dimension(values: Sequence[int]) -> str:
    """Sizes as text: 3x3."""
    return "x".join(map(str, values))
