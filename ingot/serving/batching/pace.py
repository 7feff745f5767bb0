"""How long batches take, from those that ran: what says whether a deadline can be met."""

from __future__ import annotations

# Weight of the latest batch: some dozen batches later little is left of what was before.
_WEIGHT = 0.1


class Pace:
    """Running means of a batch's seconds and its rows.

    Until a batch has run nothing is known, and nothing is refused for its deadline but what is
    past it.
    """

    def __init__(self) -> None:
        self._seconds = 0.0
        self._rows = 0.0

    def add(self, rows: int, seconds: float) -> None:
        """Takes in a batch that ran."""
        if not self._rows:
            self._seconds, self._rows = seconds, float(rows)
            return
        self._seconds += _WEIGHT * (seconds - self._seconds)
        self._rows += _WEIGHT * (rows - self._rows)

    @property
    def batch_seconds(self) -> float:
        """Seconds of a batch; 0 while none has run."""
        return self._seconds

    def wait(self, rows_ahead: int, max_batch_size: int, instances: int) -> float:
        """Seconds until what waits now has run.

        Args:
            rows_ahead: Rows that wait.
            max_batch_size: Most rows of a batch.
            instances: Batches at a time.
        """
        batches = -(-rows_ahead // max_batch_size)
        return batches * self._seconds / instances
