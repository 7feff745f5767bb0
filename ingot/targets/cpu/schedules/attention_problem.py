"""What an attention kernel is made for: sizes, memory layouts, the mask."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from tvm import tirx

from ingot.targets.cpu.schedules.dimension import Dim
from ingot.targets.cpu.schedules.emission import index


@dataclasses.dataclass(frozen=True)
class Operand:
    """How a tensor [batch, heads, positions, features] lies in memory.

    Attributes:
        shape: The dimensions of its buffer.
        axes: What each of them counts: ``b`` (batch), ``h`` (heads), ``s`` (positions), ``d``
            (features), or several of them, the last one fastest: ``hd`` for the features of all
            heads. A letter that is nowhere counts one.
    """

    shape: tuple[Dim, ...]
    axes: tuple[str, ...]

    def indices(self, at: Mapping[str, Dim], extents: Mapping[str, Dim]) -> list[Dim]:
        """Returns the buffer's indices of an element.

        Args:
            at: Its position, by letter.
            extents: The extents, by letter.
        """
        indices = []
        for letters in self.axes:
            place = at[letters[0]]
            for letter in letters[1:]:
                place = place * extents[letter] + at[letter]
            indices.append(place)
        return indices


@dataclasses.dataclass(frozen=True)
class Mask:
    """A tensor that is added to the scores.

    Attributes:
        shape: The dimensions of its buffer: [batch, heads, queries, keys], or the last ones of it.
        broadcast: For each, True where it is one element long, False where it is not, None where
            that is known at run time only.
    """

    shape: tuple[Dim, ...]
    broadcast: tuple[bool | None, ...]

    @property
    def varies_by_query(self) -> bool:
        """Whether query rows may differ in their masks."""
        return len(self.shape) > 1 and self.broadcast[-2] is not True

    @property
    def has_vectors(self) -> bool:
        """Whether neighbouring keys' elements are neighbours in memory."""
        return self.broadcast[-1] is False

    def indices(self, at: Mapping[str, Dim]) -> list[Dim]:
        """Returns the buffer's indices for batch ``b``, head ``h``, query ``q`` and key ``k``."""
        letters = "bhqk"[4 - len(self.shape) :]
        return [
            _broadcast_index(at[letter], dim, broadcast)
            for letter, dim, broadcast in zip(letters, self.shape, self.broadcast, strict=True)
        ]


def _broadcast_index(position: Dim, dim: Dim, broadcast: bool | None) -> Dim:
    if broadcast is None:
        return tirx.min(index(position), index(dim) - 1)
    return 0 if broadcast else position


@dataclasses.dataclass(frozen=True)
class Attention:
    """An attention to make a kernel for.

    Attributes:
        batch: Number of batches.
        heads: Heads of each.
        queries: Query rows of each head.
        keys: Keys of each head.
        features: Features of a query and of a key.
        value_features: Features of a value and of a result.
        scale: What the products of queries and keys are multiplied with.
        query: How Q lies in memory; its features are neighbours.
        key: How K does.
        value: How V does; its features are neighbours.
        result: How the result is to lie; its features are neighbours.
        mask: The mask, if there is one.
    """

    batch: Dim
    heads: Dim
    queries: Dim
    keys: Dim
    features: int
    value_features: int
    scale: float
    query: Operand
    key: Operand
    value: Operand
    result: Operand
    mask: Mask | None = None

    def operations(self) -> int | None:
        """Operations of the two products, None where a dimension is symbolic."""
        dims = (self.batch, self.heads, self.queries, self.keys)
        sizes = [dim for dim in dims if isinstance(dim, int)]
        if len(sizes) < len(dims):
            return None
        return 2 * math.prod(sizes) * (self.features + self.value_features)
