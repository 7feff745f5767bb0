"""Work that goes on while the next command is read, and bytes that must not be touched meanwhile.

The NPU starts an operation or a copy and goes on to the next command. ``NPU_OP_KERNEL_WAIT`` and
``NPU_OP_DMA_WAIT`` hold it until no more than so many operations or copies are under way; so does
an operation that finds the queue full. (An operation and the one before it are kept apart by
``NPU_SET_BLOCKDEP``, block by block, which is not checked here.) A stream that lacks a wait would
give right results one after the other, and wrong ones, now and then, on the NPU.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from ingot.runtime.npu.command_stream.decode import CommandError

TABLES = -1


class Work(enum.Enum):
    """What can be under way."""

    OPERATION = "operation"
    COPY = "copy"


@dataclass(frozen=True)
class Access:
    """Bytes that work reads or writes.

    Attributes:
        region: Their base pointer, or ``TABLES`` for the lookup tables.
        low: The first.
        high: The one after the last.
        writes: Whether they are written.
    """

    region: int
    low: int
    high: int
    writes: bool

    def conflicts(self, other: Access) -> bool:
        """Whether the order of the two matters."""
        overlap = self.low < other.high and other.low < self.high
        return overlap and self.region == other.region and (self.writes or other.writes)


@dataclass
class UnderWay:
    """The work under way, oldest first.

    Attributes:
        limits: How much of each kind the NPU takes before it waits by itself.
    """

    limits: dict[Work, int]
    _work: dict[Work, deque[Sequence[Access]]] = field(init=False)

    def __post_init__(self) -> None:
        self._work = {kind: deque(maxlen=limit) for kind, limit in self.limits.items()}

    def start(self, kind: Work, accesses: Sequence[Access]) -> None:
        """Starts work.

        Raises:
            CommandError: It touches what work under way touches, and one of the two writes it.
        """
        others = (Work.COPY,) if kind is Work.OPERATION else (Work.COPY, Work.OPERATION)
        for other in others:
            for earlier in self._work[other]:
                _check(accesses, earlier, other)
        self._work[kind].append(accesses)

    def wait(self, kind: Work, count: int) -> None:
        """Waits until no more than so much work of a kind is under way."""
        while len(self._work[kind]) > count:
            self._work[kind].popleft()


def _check(accesses: Sequence[Access], earlier: Sequence[Access], kind: Work) -> None:
    for access in accesses:
        for other in earlier:
            if access.conflicts(other):
                place = (
                    "the lookup tables" if access.region == TABLES else f"region {access.region}"
                )
                verb = "writes" if access.writes else "reads"
                raise CommandError(
                    f"it {verb} bytes {access.low} to {access.high} of {place} while an earlier "
                    f"{kind.value} may still be under way there; a wait is missing"
                )
