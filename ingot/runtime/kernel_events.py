"""When the kernels of an inference ran."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt


@dataclasses.dataclass(frozen=True)
class KernelEvents:
    """The kernels of an inference in the order in which they ran.

    Attributes:
        names: The names of the kernels, and of regions behind them, by their numbers.
        rows: For each call: the kernel's number, when it began and when it ended, in nanoseconds of
            the system's monotonic clock, which ``time.perf_counter_ns`` reads as well.
    """

    names: Sequence[str]
    rows: npt.NDArray[np.int64]

    @classmethod
    def of(cls, names: Sequence[str], room: int) -> KernelEvents:
        """Returns events to be filled in."""
        return cls(names, np.zeros((room, 3), np.int64))

    @classmethod
    def none(cls) -> KernelEvents:
        """Returns those of an inference without kernels."""
        return cls.of((), 0)

    def first(self, count: int) -> KernelEvents:
        """Returns the first ones."""
        return KernelEvents(self.names, self.rows[:count])

    def __iter__(self) -> Iterator[tuple[str, int, int]]:
        """Yields name, start and end of each call."""
        for number, start, end in self.rows.tolist():
            yield self.names[number], start, end
