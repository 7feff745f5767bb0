"""The families of random layers, and how many of each size there may be.

Each layer of a family is drawn by a seed, the family's name and its number alone: fifty layers
begin with the forty that forty are. What exceeds the limits is drawn again.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable
from typing import Protocol

import onnx

from benchmarks.layer_families import convolutions, plain, products
from benchmarks.layer_families.sampling import Dice
from benchmarks.layer_families.writer import Precision

# Multiply-adds: about ten milliseconds of a core.
_MOST_WORK = 600_000_000
# Four bytes each: more than any cache, no more than a machine with eight gigabytes has to spare.
_MOST_ELEMENTS = 16_000_000
_LEAST_ELEMENTS = 2_000
_MOST_DRAWS = 10_000


class Layer(Protocol):
    """The sizes of a layer."""

    @property
    def batch(self) -> int:
        """Examples at once."""

    @property
    def possible(self) -> bool:
        """Whether it has a result."""

    @property
    def work(self) -> int:
        """Multiply-adds; 0 where there are none to speak of."""

    @property
    def elements(self) -> int:
        """What it reads and writes."""

    def build(self, precision: Precision, seed: int) -> onnx.ModelProto:
        """The layer as a model."""


@dataclasses.dataclass(frozen=True)
class Family:
    """A family of layers.

    Attributes:
        name: Its name.
        draw: Draws one; its first paragraph says from what.
        precisions: What it is timed in.
        least_work: Multiply-adds: with less, only the cost of a call would be timed.
    """

    name: str
    draw: Callable[[Dice], Layer]
    precisions: tuple[Precision, ...] = ("fp32",)
    least_work: int = 0

    def layer(self, number: int, seed: int = 0) -> Layer:
        """The layer of a number.

        Raises:
            ValueError: No draw is within the limits: the family's sizes are wrong.
        """
        dice = Dice(seed, zlib.crc32(self.name.encode()), number)
        for _ in range(_MOST_DRAWS):
            layer = self.draw(dice)
            if layer.possible and self._is_within_limits(layer):
                return layer
        raise ValueError(f"no layer of {self.name} is within the limits")

    def _is_within_limits(self, layer: Layer) -> bool:
        return (
            self.least_work <= layer.work <= _MOST_WORK
            and _LEAST_ELEMENTS <= layer.elements <= _MOST_ELEMENTS
        )


_BOTH: tuple[Precision, ...] = ("fp32", "int8")

FAMILIES: tuple[Family, ...] = (
    Family("pointwise", convolutions.pointwise, _BOTH, 1_000_000),
    Family("three_by_three", convolutions.three_by_three, _BOTH, 1_000_000),
    Family("window", convolutions.window, _BOTH, 1_000_000),
    Family("depthwise", convolutions.depthwise, _BOTH, 100_000),
    Family("grouped", convolutions.grouped, _BOTH, 1_000_000),
    Family("one_axis", convolutions.one_axis, _BOTH, 100_000),
    Family("three_axes", convolutions.three_axes, _BOTH, 1_000_000),
    Family("transposed", convolutions.transposed, _BOTH, 1_000_000),
    Family("fully_connected", products.fully_connected, _BOTH, 10_000),
    Family("matmul", products.matmul, _BOTH, 300_000),
    Family("attention", products.attention, least_work=100_000),
    Family("recurrent", products.recurrent, least_work=300_000),
    Family("pooling", plain.pooling),
    Family("normalization", plain.normalization),
    Family("softmax", plain.softmax),
    Family("movement", plain.movement),
)


def by_name(name: str) -> Family:
    """Returns a family of the list.

    Raises:
        KeyError: There is none of that name.
    """
    return {family.name: family for family in FAMILIES}[name]
