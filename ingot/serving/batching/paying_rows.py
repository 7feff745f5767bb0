"""How many rows a batch should have: as many as make a row cheaper, and no more.

A model whose kernels have enough to do with one row takes as long for a row of a large batch, or
longer, once activations leave the caches; there a larger batch only answers later.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

# Weight of the latest batch of a size.
_WEIGHT = 0.1
# The same of one that was faster: nothing makes a batch too fast, much makes it too slow.
_WEIGHT_OF_FASTER = 0.3
# A batch that was interrupted counts as no more than so many usual ones: the mean then stays within
# what a row has to be cheaper by.
_MOST_TIMES = 1.25
# Share by which a row has to be cheaper for a larger batch to pay: what a mean of some ten batches
# varies by.
_PAYS = 0.05
# Batches of a size before its mean is believed: fewer may all have been interrupted.
_BELIEVED = 3
# Rows between batches of another size than the best one, by that size. Their requests wait longer:
# below one of a hundred, they do not decide the 99th percentile. Of what is unknown they may.
_BETWEEN_PROBES = 200
_BETWEEN_UNKNOWN = 4
# One batch of so many that would be filled up is not.
_BETWEEN_PADDINGS = 32


class _Mean:
    """A running mean of seconds that bears single interruptions."""

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        if self.count == 1:
            self.seconds = seconds
            return
        taken = min(seconds, _MOST_TIMES * self.seconds)
        # The plain mean of the first ones: the very first is of a model that was never run.
        weight = _WEIGHT_OF_FASTER if taken < self.seconds else _WEIGHT
        self.seconds += max(weight, 1 / self.count) * (taken - self.seconds)

    @property
    def believed(self) -> bool:
        return self.count >= _BELIEVED


class PayingRows:
    """Learns what batches of one kind of request take, and says how large they should be.

    Sizes are compared by the seconds of a row: powers of two, the preferred sizes, and the largest
    size. The smallest whose rows are about as cheap as any is the one that pays. As long as larger
    ones are unknown, the largest is tried.
    """

    def __init__(self, most: int, preferred: Sequence[int] = ()) -> None:
        """Knows nothing yet.

        Args:
            most: Most rows of a batch.
            preferred: Sizes at which the model is thought to be fast.
        """
        powers = {1 << exponent for exponent in range(most.bit_length())}
        self._sizes = sorted({*powers, *(size for size in preferred if size <= most), most})
        self._preferred = sorted(size for size in set(preferred) if size <= most)
        self._of_row = {size: _Mean() for size in self._sizes}
        self._of_batch: dict[int, _Mean] = {}
        self._since_probe = 0
        self._probes = 0
        self._paddings = 0

    def add(self, rows: int, seconds: float) -> None:
        """Takes in a batch that ran."""
        self._of_row[self._step(rows)].add(seconds / rows)
        if self._preferred and rows <= self._preferred[-1]:
            self._of_batch.setdefault(rows, _Mean()).add(seconds)

    @property
    def rows(self) -> int:
        """How many rows pay: what is worth waiting for."""
        known = [size for size in self._sizes if self._of_row[size].believed]
        if not known:
            return self._sizes[-1]
        bound = min(self._of_row[size].seconds for size in known) * (1 + _PAYS)
        paying = next(size for size in known if self._of_row[size].seconds <= bound)
        if paying == known[-1]:
            return self._sizes[-1]
        return paying

    def next_rows(self, waiting: int) -> int:
        """Most rows of the batch that is taken now: those that pay, or now and then others.

        Args:
            waiting: Rows that could be joined.
        """
        paying = self.rows
        # Where fewer wait than pay, batches are of other sizes by themselves.
        if waiting < paying or not self._of_row[paying].believed:
            return paying
        others = [size for size in self._sizes if size <= waiting and size != paying]
        unknown = [size for size in others if not self._of_row[size].believed]
        between = _BETWEEN_PROBES
        if unknown:
            others, between = unknown[:1], _BETWEEN_UNKNOWN
        if not others:
            return paying
        probed = others[self._probes % len(others)]
        if self._since_probe < between * probed:
            self._since_probe += paying
            return paying
        self._since_probe = 0
        self._probes += 1
        return probed

    def padded(self, rows: int) -> int:
        """To how many rows a batch is filled up: a preferred size, if that was faster."""
        place = bisect.bisect_left(self._preferred, rows)
        if place == len(self._preferred) or self._preferred[place] == rows:
            return rows
        full = self._of_batch.get(self._preferred[place])
        plain = self._of_batch.get(rows)
        if full is None or plain is None or not (full.believed and plain.believed):
            return rows
        self._paddings += 1
        if full.seconds < plain.seconds * (1 - _PAYS) and self._paddings % _BETWEEN_PADDINGS:
            return self._preferred[place]
        return rows

    def _step(self, rows: int) -> int:
        """The largest of the sizes that are compared which is no larger than ``rows``."""
        return self._sizes[bisect.bisect_right(self._sizes, rows) - 1]
