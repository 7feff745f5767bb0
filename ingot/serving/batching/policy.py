"""When a batch is large enough, and for how long it waits to become so."""

from __future__ import annotations

import dataclasses

from ingot.errors import UsageError


@dataclasses.dataclass(frozen=True)
class BatchPolicy:
    """How requests of a model are joined and bounded.

    Attributes:
        max_batch_size: Most rows of a batch; 1 joins nothing.
        max_delay: Seconds that a request waits at most for others, while nothing else runs.
        preferred_sizes: Rows at which a batch runs at once, ascending.
        max_queue: Most requests that wait; beyond it they are refused.
        instances: Batches of the model that run at a time.
        timeout: Seconds after which a request that waits is refused; None for never.
    """

    max_batch_size: int = 1
    max_delay: float = 0.0
    preferred_sizes: tuple[int, ...] = ()
    max_queue: int = 256
    instances: int = 1
    timeout: float | None = None

    def __post_init__(self) -> None:
        """Refuses values that say nothing.

        Raises:
            UsageError: One is out of its range.
        """
        for name, least in (("max_batch_size", 1), ("max_queue", 1), ("instances", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be at least {least}, not {getattr(self, name)}")
        if self.max_delay < 0:
            raise UsageError(f"max_delay must not be negative, as {self.max_delay} is")
        if self.timeout is not None and self.timeout <= 0:
            raise UsageError(f"timeout must be above zero, not {self.timeout}")
        if any(not 0 < size <= self.max_batch_size for size in self.preferred_sizes):
            raise UsageError(
                f"preferred sizes have to lie between 1 and max_batch_size {self.max_batch_size}"
            )
        object.__setattr__(self, "preferred_sizes", tuple(sorted(set(self.preferred_sizes))))

    def rows_to_run(self, waiting: int, waited: float, most: int | None = None) -> int:
        """How many rows run now of those that can be joined; 0 to wait for more.

        Args:
            waiting: Rows that can be joined.
            waited: Seconds that the first of them has waited.
            most: Rows beyond which a larger batch does not pay; none for the most there may be.
        """
        most = self.max_batch_size if most is None else min(most, self.max_batch_size)
        if waiting >= most:
            return most
        reached = [size for size in self.preferred_sizes if size <= waiting]
        if reached:
            return reached[-1]
        return waiting if waited >= self.max_delay else 0
