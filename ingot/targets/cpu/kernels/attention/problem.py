"""What an attention kernel is made for: sizes, memory layouts, masks."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Mapping

from tvm import tirx

from ingot.targets.cpu.kernels.writing.dimension import Dim, product
from ingot.targets.cpu.kernels.writing.emission import index


@dataclasses.dataclass(frozen=True)
class Operand:
    """How a tensor [batch, key heads, heads of each, positions, features] lies in memory.

    Attributes:
        shape: The dimensions of its buffer.
        axes: What each of them counts: ``b`` (batch), ``k`` (heads of keys), ``g`` (heads of
            queries that share one), ``s`` (positions), ``d`` (features), or several of them, the
            last one fastest: ``kgd`` for the features of all heads. A letter that is nowhere
            counts one, and an axis without letters has one element.
        dtype: ``float32``, or ``bfloat16``, which the kernel makes float32 of, or rounds to.
    """

    shape: tuple[Dim, ...]
    axes: tuple[str, ...]
    dtype: str = "float32"

    def indices(self, at: Mapping[str, Dim], extents: Mapping[str, Dim]) -> list[Dim]:
        """Returns the buffer's indices of an element.

        Args:
            at: Its position, by letter.
            extents: The extents, by letter.
        """
        indices: list[Dim] = []
        for letters in self.axes:
            place: Dim = 0
            for letter in letters:
                place = place * extents[letter] + at[letter] if letter != letters[0] else at[letter]
            indices.append(place)
        return indices


@dataclasses.dataclass(frozen=True)
class Mask:
    """A tensor that changes the scores.

    Attributes:
        shape: The dimensions of its buffer.
        axes: What each of them counts: ``b`` (batch), ``k`` (heads of keys), ``g`` (heads of
            queries that share one), ``h`` (heads of queries), ``q`` (queries), ``t`` (keys); keys
            come last.
        broadcast: For each, True where it is one element long, False where it is not, None where
            that is known at run time only.
        replaces: Whether an element that is not zero takes the score's place, instead of being
            added to it.
    """

    shape: tuple[Dim, ...]
    axes: str
    broadcast: tuple[bool | None, ...]
    replaces: bool = False

    def varies_by_row(self, group: int) -> bool:
        """Whether rows of the same keys may differ in their masks, of ``group`` heads to each."""
        letters = "q" if group == 1 else "qgh"
        return any(
            letter in letters and broadcast is not True
            for letter, broadcast in zip(self.axes, self.broadcast, strict=True)
        )

    @property
    def has_vectors(self) -> bool:
        """Whether neighbouring keys' elements are neighbours in memory."""
        return self.broadcast[-1] is False

    def indices(self, at: Mapping[str, Dim]) -> list[Dim]:
        """Returns the buffer's indices of an element, whose position is given by letter."""
        return [
            _broadcast_index(at[letter], dim, broadcast)
            for letter, dim, broadcast in zip(self.axes, self.shape, self.broadcast, strict=True)
        ]


def _broadcast_index(position: Dim, dim: Dim, broadcast: bool | None) -> Dim:
    if broadcast is None:
        return tirx.min(index(position), index(dim) - 1)
    return 0 if broadcast else position


class WithoutKeys(enum.Enum):
    """What a row is whose scores exclude all keys."""

    NOT_A_NUMBER = "the quotient of zeros, as a softmax gives it: scores are minus infinity"
    ZERO = "zeros, where no score is above the lowest number"
    ZERO_FOR_NOT_A_NUMBER = "zeros, wherever a softmax gives no number"


@dataclasses.dataclass(frozen=True)
class Attention:
    """An attention to make a kernel for.

    Attributes:
        batch: Number of batches.
        heads: Heads of keys and values of each.
        group: Heads of queries that share one of keys.
        queries: Query rows of each head.
        keys: Keys of each head.
        features: Features of a query and of a key.
        value_features: Features of a value and of a result.
        scale: What the products of queries and keys are multiplied with.
        query: How Q lies in memory; its features are neighbours.
        key: How K does.
        value: How V does; its features are neighbours.
        result: How the result is to lie; its features are neighbours.
        cap: Scores become ``cap · tanh(score / cap)`` where it is not zero.
        mask: The mask, if there is one.
        causal: Where it is not None, query ``i`` sees the keys up to ``i + causal``.
        without_keys: What a row without any key is.
    """

    batch: Dim
    heads: Dim
    group: int
    queries: Dim
    keys: Dim
    features: int
    value_features: int
    scale: float
    query: Operand
    key: Operand
    value: Operand
    result: Operand
    cap: float = 0.0
    mask: Mask | None = None
    causal: Dim | None = None
    without_keys: WithoutKeys = WithoutKeys.NOT_A_NUMBER

    @property
    def rows(self) -> Dim:
        """Rows of queries that share their keys."""
        return self.queries * self.group if self.group > 1 else self.queries

    def work(self) -> Dim:
        """Operations of the two products, a multiply-add counted as two; all keys are counted."""
        dims = (self.batch, self.heads, self.rows, self.keys)
        return product([*dims, 2 * (self.features + self.value_features)])

    def operations(self) -> int | None:
        """Operations of the two products, None where a dimension is symbolic.

        Of a causal mask only what is seen counts.
        """
        work = self.work()
        if not isinstance(work, int) or self.causal is None:
            return work if isinstance(work, int) else None
        if not isinstance(self.causal, int):
            return None
        assert isinstance(self.queries, int) and isinstance(self.keys, int)
        seen = sum(max(0, min(self.keys, row + self.causal + 1)) for row in range(self.queries))
        return math.ceil(work * seen / (self.queries * self.keys)) if self.keys else 0
