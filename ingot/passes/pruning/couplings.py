"""Which channels of a graph can only go together, and which have to stay.

Each position along each axis of each tensor, weights included, is one element of a union-find. A
node's rule says which positions are the same channel: an addition couples its operands' position by
position, a Concat couples pieces, a linear layer its input's channels with its weights' columns and
its output's with the rows, a grouped layer all channels of a group. What no rule covers stays, with
the reason. So the order of nodes does not matter, and shared weights, residuals, gates and
depthwise layers need no case of their own. Dependency groups as such: Fang et al., DepGraph, CVPR
2023.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

Positions = npt.NDArray[np.int64]


class Couplings:
    """Positions along axes, which of them are coupled, and which are held.

    Axes whose size is not known have no positions: nothing along them can go.
    """

    def __init__(self) -> None:
        self._parents: list[int] = []
        self._reasons: dict[int, str] = {}
        self._positions: dict[tuple[ir.Value, int], Positions] = {}

    def at(self, value: ir.Value, axis: int) -> Positions | None:
        """The positions along an axis of a tensor; None where its size is not known."""
        if value.shape is None or not -len(value.shape) <= axis < len(value.shape):
            return None
        axis %= len(value.shape)
        if (value, axis) not in self._positions:
            size = value.shape[axis]
            if not isinstance(size, int):
                return None
            begin = len(self._parents)
            self._parents.extend(range(begin, begin + size))
            self._positions[value, axis] = np.arange(begin, begin + size)
        return self._positions[value, axis]

    def couple(self, left: Positions | None, right: Positions | None, reason: str) -> None:
        """Says that two runs of positions are the same channels, one by one.

        Where one has no positions or another number of them, both are held for ``reason``.
        """
        if left is None or right is None or len(left) != len(right):
            self.hold(left, reason)
            self.hold(right, reason)
            return
        for one, other in zip(left.tolist(), right.tolist(), strict=True):
            self._join(one, other)

    def hold(self, positions: Positions | None, reason: str) -> None:
        """Says that positions have to stay."""
        for position in () if positions is None else positions.tolist():
            self._reasons.setdefault(self._root(position), reason)

    def hold_all(self, value: ir.Value | None, reason: str) -> None:
        """Says that all positions along all axes of a tensor have to stay."""
        if value is not None and value.shape is not None:
            for axis in range(len(value.shape)):
                self.hold(self.at(value, axis), reason)

    def roots(self, positions: Positions) -> Positions:
        """A number for each position, equal where positions are coupled."""
        return np.array([self._root(one) for one in positions.tolist()], np.int64)

    def reason(self, root: int) -> str | None:
        """Why the positions of a root have to stay; None where they may go."""
        return self._reasons.get(root)

    def axes(self) -> dict[tuple[ir.Value, int], Positions]:
        """All axes that have positions."""
        return dict(self._positions)

    def _root(self, position: int) -> int:
        root = position
        while self._parents[root] != root:
            root = self._parents[root]
        while self._parents[position] != root:
            self._parents[position], position = root, self._parents[position]
        return root

    def _join(self, one: int, other: int) -> None:
        kept, gone = sorted((self._root(one), self._root(other)))
        if kept == gone:
            return
        self._parents[gone] = kept
        reason = self._reasons.pop(gone, None)
        if reason is not None:
            self._reasons.setdefault(kept, reason)
