"""The ways of batching that are tried."""

from __future__ import annotations

import dataclasses

_BATCHES = (1, 4, 16, 64)
# Of the bound of latency: beyond a quarter of it, waiting leaves too little to run in.
_DELAYS = (0.0, 0.05, 0.25)


@dataclasses.dataclass(frozen=True, order=True)
class Candidate:
    """A way of batching.

    Attributes:
        max_batch_size: Most rows of a batch.
        max_delay_ms: Milliseconds that a request waits for others.
        instances: Batches that run at a time.
        threads: Threads of each.
    """

    max_batch_size: int
    max_delay_ms: float
    instances: int
    threads: int

    def __str__(self) -> str:
        """Returns it as ``batches of 16, 2 ms, 1 x 2 threads``."""
        return (
            f"batches of {self.max_batch_size}, {self.max_delay_ms:g} ms, "
            f"{self.instances} x {self.threads} thread{'s' if self.threads > 1 else ''}"
        )


def candidates(p99_ms: float, cpus: int, most_rows: int, *, joins: bool) -> list[Candidate]:
    """Returns what is worth trying.

    Args:
        p99_ms: The bound of latency, in milliseconds.
        cpus: CPUs that the server may use.
        most_rows: Most rows of a batch.
        joins: Whether the model's requests can be joined.
    """
    batches = sorted({min(size, most_rows) for size in _BATCHES}) if joins else [1]
    splits = sorted({(1, cpus), (cpus, 1), *(((cpus // 2), 2),) * (cpus >= 4)})
    return [
        Candidate(rows, round(part * p99_ms, 3), instances, threads)
        for instances, threads in splits
        for rows in batches
        for part in (_DELAYS if rows > 1 else _DELAYS[:1])
    ]
