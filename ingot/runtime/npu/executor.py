"""What executes NPU regions: an interface, and the kinds of it by name.

``reference`` runs the region's TOSA graph in Arm's reference model. ``command-stream`` runs the
very command stream and weights that the NPU is given. A driver of a device would be a third kind:
it copies ``region.weights`` once, sets the base pointers of the areas, copies the inputs to their
addresses, starts the command stream, waits, and copies the outputs back.
"""

from __future__ import annotations

import abc
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.errors import ArtifactError, IngotError, InputError, UsageError
from ingot.runtime.artifact import ArtifactReader
from ingot.runtime.manifest import RegionInfo
from ingot.runtime.npu.region import Region, RegionTensor
from ingot.runtime.profiling import recording
from ingot.runtime.profiling.inferences import record_estimate

Array = npt.NDArray[Any]

# Module and class of each kind; imported when it is asked for, because each needs other packages.
_KINDS = {
    "reference": ("ingot.runtime.npu.reference", "ReferenceExecutor"),
    "command-stream": ("ingot.runtime.npu.command_stream", "CommandStreamExecutor"),
}
EXECUTOR_KINDS = tuple(_KINDS)
DEFAULT_EXECUTOR = "reference"


class RegionExecutor(abc.ABC):
    """Executes one region.

    A subclass implements :meth:`execute`; checking the inputs is done here. One executor runs one
    inference at a time.

    Attributes:
        region: What it executes.
    """

    def __init__(self, region: Region) -> None:
        """Prepares a region for execution.

        Raises:
            ArtifactError: The executor cannot run this region; says why.
        """
        self.region = region
        estimate = region.estimate
        self._layers = tuple((each.name, each.operator, each.cycles) for each in estimate.layers)

    def close(self) -> None:
        """Does nothing: all that the region has goes with this object."""
        return

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Runs the region once.

        Args:
            inputs: An array for each of ``region.inputs``, of its dtype and shape.

        Returns:
            A new array for each of ``region.outputs``.

        Raises:
            InputError: The arrays are not what the region takes.
            IngotError: The execution failed.
        """
        if len(inputs) != len(self.region.inputs):
            raise InputError(
                f"NPU region {self.region.name} takes {len(self.region.inputs)} inputs, "
                f"{len(inputs)} were given"
            )
        for tensor, array in zip(self.region.inputs, inputs, strict=True):
            self._check("input", tensor, array)
        if recording.on:
            estimate = self.region.estimate
            record_estimate(self.region.name, estimate.clock_hz, estimate.cycles, self._layers)
        outputs = self.execute([np.ascontiguousarray(array) for array in inputs])
        for tensor, array in zip(self.region.outputs, outputs, strict=True):
            self._check("output", tensor, array)
        return outputs

    @abc.abstractmethod
    def execute(self, inputs: Sequence[Array]) -> list[Array]:
        """Runs the region on checked, C-contiguous inputs, which it must not change."""

    def _check(self, kind: str, tensor: RegionTensor, array: Array) -> None:
        if array.shape != tensor.shape or array.dtype != np.dtype(tensor.dtype):
            raise InputError(
                f"{kind} {tensor.name} of NPU region {self.region.name} is "
                f"{tensor.dtype}{list(tensor.shape)}, not {array.dtype.name}{list(array.shape)}"
            )


def make_executor(kind: str, region: Region) -> RegionExecutor:
    """Returns an executor of a region.

    Args:
        kind: One of :data:`EXECUTOR_KINDS`.
        region: The region.

    Raises:
        UsageError: There is no such kind; lists those that there are.
        IngotError: What the executor needs is not installed; says how to install it.
        ArtifactError: The executor cannot run this region; says why.
    """
    if kind not in _KINDS:
        raise UsageError(
            f"no NPU executor is called {kind!r}; the executors are {', '.join(EXECUTOR_KINDS)}"
        )
    module, name = _KINDS[kind]
    try:
        executor: type[RegionExecutor] = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise IngotError(
            f"the NPU executor {kind!r} needs {error.name}: install it with "
            "`pip install 'ingot[npu]'`"
        ) from error
    return executor(region)


def make_executors(
    regions: Mapping[str, RegionInfo],
    reader: ArtifactReader,
    weights: Mapping[str, Array],
    threads: int,
    kind: str | None,
) -> dict[str, RegionExecutor]:
    """Makes the executors of an artifact's NPU regions.

    Raises:
        ArtifactError: A region is damaged.
        UsageError: No such kind of executor.
        IngotError: What the executor needs is not installed.
    """
    del weights, threads  # a region has its own weights, and runs on one thread
    executors = {}
    for name, info in regions.items():
        region = Region.read(name, reader.member)
        for own, stated in (region.inputs, info.inputs), (region.outputs, info.outputs):
            if [(t.dtype, t.shape) for t in own] != [(spec.dtype, spec.shape) for spec in stated]:
                raise ArtifactError(
                    f"{reader.path} is damaged: NPU region {name} takes or makes other tensors "
                    "than its manifest says"
                )
        executors[name] = make_executor(kind or DEFAULT_EXECUTOR, region)
    return executors
