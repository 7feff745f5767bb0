"""The weights of integer kernels, and what belongs to them."""

from __future__ import annotations

import dataclasses

from tvm import tirx

from ingot.targets.cpu.schedules.epilogue import FusedKernel


@dataclasses.dataclass(frozen=True)
class IntegerWeights:
    """The weights of a kernel, and what belongs to them.

    Attributes:
        packed: int8 [panel, taps along the height, groups, 4 · panel width].
        offsets: int32 [panel, panel width]: what sums begin with.
        depth: Groups that are added in 16 bits.
        tile_groups: Groups that a tile of AMX takes at once, 0 where none multiplies.
        excess: int8 [steps, 4 · panel width], what would saturate; None where nothing does.
        excess_at: int32 [steps]: the group of each, counted through the taps.
        excess_bounds: int32 [panels + 1]: the steps of each panel.
    """

    packed: tirx.Buffer
    offsets: tirx.Buffer
    depth: int
    tile_groups: int = 0
    excess: tirx.Buffer | None = None
    excess_at: tirx.Buffer | None = None
    excess_bounds: tirx.Buffer | None = None

    @classmethod
    def of(cls, kernel: FusedKernel) -> IntegerWeights:
        """Returns the weights among a kernel's parameters, behind the first."""
        packed, offsets, *excess = kernel.operands[1 : 1 + int(kernel.annotations["weights"])]
        notes = kernel.annotations
        return cls(packed, offsets, int(notes["depth"]), int(notes["tile_groups"]), *excess)

    @property
    def taps(self) -> int:
        """Taps along the height."""
        return int(self.packed.shape[1])

    @property
    def groups(self) -> int:
        """Groups of the reduction per tap along the height."""
        return int(self.packed.shape[2])
