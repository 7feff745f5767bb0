"""Executor ``reference``: a region's TOSA graph in Arm's TOSA reference model.

The reference model is what defines TOSA's integer arithmetic, so its result is the result.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import numpy as np

from ingot.errors import ArtifactError, IngotError
from ingot.runtime.npu.executor import Array, RegionExecutor
from ingot.runtime.npu.foreign_process import EndedError, ForeignProcess, RaisedError

_PACKAGE = "tosa_reference_model"
if importlib.util.find_spec(_PACKAGE) is None:
    raise ModuleNotFoundError(f"No module named {_PACKAGE}", name=_PACKAGE)

_VALID = "TOSA_VALID"
# One for all sessions: a graph takes one thread, and starting a process takes longer than most.
_process = ForeignProcess(f"{__name__}:run_graph")


def run_graph(graph: bytes, inputs: list[Array]) -> tuple[list[Array], str]:
    """Runs a graph by the reference model here; returns its outputs and the status's name."""
    import tosa_reference_model

    outputs, status = tosa_reference_model.run(graph, inputs)
    return [np.array(output) for output in outputs], str(status).rpartition(".")[2]


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
            outputs: list[Array]
            outputs, status = _process.call(self.region.graph, list(inputs))
        except EndedError as error:
            raise ArtifactError(
                f"the TOSA reference model {error} on NPU region {self.region.name}: the region is "
                "damaged, or of another version; copy or compile the artifact again"
            ) from error
        except RaisedError as error:
            raise IngotError(
                f"the TOSA reference model cannot run NPU region {self.region.name}: {error}"
            ) from error
        if status != _VALID:
            raise IngotError(
                f"the TOSA reference model finds NPU region {self.region.name} {status}: its "
                "arithmetic leaves what TOSA defines"
            )
        return outputs
