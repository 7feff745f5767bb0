"""Executor ``reference``: a region's TOSA graph in Arm's TOSA reference model.

The reference model is what defines TOSA's integer arithmetic, so its result is the result.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

from ingot.errors import ArtifactError, IngotError
from ingot.runtime.npu.executor import Array, RegionExecutor
from ingot.runtime.npu.reference_process import EndedError, ReferenceProcess

_PACKAGE = "tosa_reference_model"
if importlib.util.find_spec(_PACKAGE) is None:
    raise ModuleNotFoundError(f"No module named {_PACKAGE}", name=_PACKAGE)

_VALID = "TOSA_VALID"
# One for all sessions: a graph takes one thread, and starting a process takes longer than most.
_process = ReferenceProcess()


class ReferenceExecutor(RegionExecutor):
    """Runs the graph that the command stream was compiled from, on one thread.

    The reference model ends the process that it runs in where a graph is damaged, and prints: so it
    runs in a process of its own.
    """

    def execute(self, inputs: Sequence[Array]) -> list[Array]:
        """Runs the graph on the inputs.

        Raises:
            IngotError: The reference model finds the graph or its execution invalid.
            ArtifactError: The reference model has ended its process.
        """
        try:
            outputs, status, raised = _process.run(self.region.graph, inputs)
        except EndedError as error:
            raise ArtifactError(
                f"the TOSA reference model {error} on NPU region {self.region.name}: the region is "
                "damaged, or of another version; copy or compile the artifact again"
            ) from error
        if raised:
            raise IngotError(
                f"the TOSA reference model cannot run NPU region {self.region.name}: {raised}"
            )
        if status != _VALID:
            raise IngotError(
                f"the TOSA reference model finds NPU region {self.region.name} {status}: its "
                "arithmetic leaves what TOSA defines"
            )
        return outputs
