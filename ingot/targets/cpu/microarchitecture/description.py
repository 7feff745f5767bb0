"""The description that tiles, blocks, threads and fusion are decided by."""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Microarchitecture:
    """What a processor's cores, caches and threads can do.

    Rates are of one core, per cycle of its clock, so that no clock is needed: what is compared is
    always time with time. *A vector* is one of the widest that the code uses.

    Attributes:
        multiply_adds_per_cycle: Multiply-adds of vectors of float32 that begin in a cycle.
        multiply_add_latency: Cycles from a multiply-add to the next that adds to its result.
        loads_per_cycle: Loads of vectors that the first-level cache answers in a cycle.
        instructions_per_cycle: Instructions that the core takes in per cycle.
        threads_per_core: Threads that share a core, which may be a neighbour's.
        l1d_bytes: First-level data cache of a core, in bytes.
        l2_bytes: Second-level cache of a core, or its share of one, in bytes.
        l3_bytes: A core's share of the third-level cache, in bytes; 0 where there is none.
        l2_bytes_per_cycle: Bytes that a core reads from its second-level cache in a cycle.
        l3_bytes_per_cycle: Bytes that a core reads from the third-level cache in a cycle, or from
            memory where there is none.
        dram_bytes_per_cycle: Bytes that a core reads from memory in a cycle.
        launch_cycles: Cycles from a parallel loop's start until all threads work on it, and from
            the last one's end until the loop's end.
    """

    multiply_adds_per_cycle: float
    multiply_add_latency: float
    loads_per_cycle: float
    instructions_per_cycle: float
    threads_per_core: int
    l1d_bytes: int
    l2_bytes: int
    l3_bytes: int
    l2_bytes_per_cycle: float
    l3_bytes_per_cycle: float
    dram_bytes_per_cycle: float
    launch_cycles: float

    @property
    def instructions_of_a_thread(self) -> float:
        """Instructions that a thread gets of its core per cycle, where the others take theirs."""
        return self.instructions_per_cycle / self.threads_per_core

    @property
    def chains(self) -> int:
        """Sums that hide each other's latency: while one waits, the units add to the others."""
        return math.ceil(self.multiply_add_latency * self.multiply_adds_per_cycle)

    def multiply_adds_of(self, count: int, rate: float) -> int:
        """Returns how many multiply-adds a core does while so many bytes come, one at least.

        Args:
            count: Bytes.
            rate: How many come in a cycle.
        """
        return max(1, round(count / rate * self.multiply_adds_per_cycle))

    @property
    def busy_l3_bytes_per_cycle(self) -> float:
        """Bytes that come from the third-level cache in a cycle while a kernel computes.

        A third of what a core can read: for each byte that is read one is written, which goes the
        same way twice, since a line is read before a part of it is written.
        """
        return self.l3_bytes_per_cycle / 3

    @property
    def resident_bytes(self) -> int:
        """Bytes of a block that is to stay in the second-level cache while it is read again.

        Half of the cache: through the other half streams what is read once.
        """
        return self.l2_bytes // 2
