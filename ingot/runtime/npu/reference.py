"""Executor ``reference``: a region's TOSA graph in Arm's TOSA reference model.

The reference model is what defines TOSA's integer arithmetic, so its result is the result.
"""

from __future__ import annotations

from collections.abc import Sequence

import tosa_reference_model

from ingot.errors import IngotError, first_line
from ingot.runtime.npu.executor import Array, RegionExecutor


class ReferenceExecutor(RegionExecutor):
    """Runs the graph that the command stream was compiled from, in process, on one thread."""

    def execute(self, inputs: Sequence[Array]) -> list[Array]:
        """Runs the graph on the inputs.

        Raises:
            IngotError: The reference model finds the graph or its execution invalid.
        """
        try:
            outputs, status = tosa_reference_model.run(self.region.graph, list(inputs))
        except ValueError as error:
            raise IngotError(
                f"the TOSA reference model cannot run NPU region {self.region.name}: "
                f"{first_line(error)}"
            ) from error
        if status != tosa_reference_model.GraphStatus.TOSA_VALID:
            raise IngotError(
                f"the TOSA reference model finds NPU region {self.region.name} "
                f"{str(status).rpartition('.')[2]}: its arithmetic leaves what TOSA defines"
            )
        return list(outputs)
