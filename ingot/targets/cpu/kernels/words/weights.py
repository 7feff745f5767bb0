"""The weights of kernels of words, and what belongs to them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from tvm import tirx

from ingot.targets.cpu.kernels.anchors import Word, WordPacking
from ingot.targets.cpu.kernels.tiling.blocking import MOST_SHARES
from ingot.targets.cpu.kernels.writing.emission import Emitter, index
from ingot.targets.cpu.machine import CACHE_LINE_BYTES


@dataclasses.dataclass(frozen=True)
class WordWeights:
    """The weights of a kernel, and what belongs to them.

    Attributes:
        packed: int8 [panel, taps along the height, groups, 4 · panel width], or the bits
            of bfloat16, uint16, with 2.
        offsets: int32 [panel, panel width]: what sums begin with; None for zero.
        depth: Groups that are added in 16 bits.
        tile_groups: Groups that a tile of AMX takes at once, 0 where none multiplies.
        excess: int8 [steps, 4 · panel width], what would saturate; None where nothing does.
        excess_at: int32 [steps]: the group of each, counted through the taps.
        excess_bounds: int32 [panels + 1]: the steps of each panel.
        word: What a group of the reduction is.
    """

    packed: tirx.Buffer
    offsets: tirx.Buffer | None
    depth: int
    tile_groups: int = 0
    excess: tirx.Buffer | None = None
    excess_at: tirx.Buffer | None = None
    excess_bounds: tirx.Buffer | None = None
    word: Word = "uint8"

    @classmethod
    def of(cls, operands: Sequence[tirx.Buffer], packing: WordPacking) -> WordWeights:
        """Returns the weights among a kernel's operands, behind the first."""
        packed, *others = operands[1 : 1 + packing.arrays]
        offsets = others[0] if others else None
        excess, at, bounds = others[1:] or (None, None, None)
        depth, tile_groups = packing.groups_per_sum, packing.tile_groups
        return cls(packed, offsets, depth, tile_groups, excess, at, bounds, packing.word)

    @property
    def element_bytes(self) -> int:
        """Bytes of a weight."""
        return int(self.packed.dtype.bits) // 8

    @property
    def taps(self) -> int:
        """Taps along the height."""
        return int(self.packed.shape[1])

    @property
    def groups(self) -> int:
        """Groups of the reduction per tap along the height."""
        return int(self.packed.shape[2])

    def prefetch_next(
        self,
        emitter: Emitter,
        panel: tirx.Expr,
        place: tuple[tirx.Expr, tirx.Expr],
        groups: int,
        share: tuple[tirx.Expr, int] | None,
    ) -> None:
        """Asks for the next panel's weights, of the groups that a step of a pass reads of this one.

        Weights come from memory, or from a cache that all cores share, and a layer of few pixels
        multiplies them faster than they come. No prefetcher of the processor sees them early: each
        step's lines are read once per pass.

        Args:
            emitter: Where the statements go.
            panel: The panel that is read.
            place: The tap and the first of the groups.
            groups: How many groups the step reads.
            share: Which of how many passes over the panel this is, of which each takes a share of
                the lines; None asks for nothing.
        """
        if share is None or share[1] > MOST_SHARES:
            return
        number, passes = share
        of_line = CACHE_LINE_BYTES // self.element_bytes
        lines = groups * int(self.packed.shape[3]) // of_line
        of_each = -(-lines // passes)
        first = tirx.Min(number * index(of_each), index(max(lines - of_each, 0)))
        for line in range(of_each):
            element = (first + index(line)) * index(of_line)
            emitter.prefetch(self.packed, panel + index(1), *place, element, level=2)
