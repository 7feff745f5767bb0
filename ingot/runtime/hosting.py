"""The regions of an artifact: what runs each, and the functions by which compiled code calls them.

A region is a part of the graph that something other than the artifact's own code runs. Compiled
code calls it by name. A value that code cannot hold (a string, a sequence, a tensor of unknown
rank) does not pass through it: it goes from the caller to the region, or the other way, by way of
the session.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ingot.errors import ArtifactError, IngotError, UsageError
from ingot.runtime.alignment import aligned
from ingot.runtime.artifact import ArtifactReader
from ingot.runtime.interface import MARK
from ingot.runtime.manifest import NPU_PREFIX, REGION_PREFIX, RegionInfo
from ingot.runtime.narrow_types import from_code, to_code
from ingot.runtime.profiling import recording
from ingot.runtime.profiling.event_sources import REGION

# Module and function of each kind; imported when asked for, because each needs other packages.
_MAKERS = {
    "cuda": ("ingot.runtime.cuda.executor", "make_executors"),
    "npu": ("ingot.runtime.npu.executor", "make_executors"),
    "onnxruntime": ("ingot.runtime.onnxruntime.executor", "make_executors"),
}

Array = npt.NDArray[Any]


class Executor(Protocol):
    """Runs one region, one inference at a time."""

    def run(self, inputs: Sequence[Any]) -> list[Any]:
        """Runs the region once.

        Args:
            inputs: A value for each of the region's inputs.

        Returns:
            A value for each of its outputs.

        Raises:
            IngotError: It cannot run on these inputs.
        """

    def close(self) -> None:
        """Gives back what the region has outside of this process's memory; it runs no more."""


class HostedRegions:
    """The regions of a session.

    Args:
        regions: What the manifest says of them, by name.
        executors: What runs them, by name.
    """

    def __init__(
        self, regions: Mapping[str, RegionInfo], executors: Mapping[str, Executor]
    ) -> None:
        self._regions = regions
        self._executors = executors
        self._locks = {name: threading.Lock() for name in regions}

    def begin(self, given: Mapping[str, Any]) -> RegionInference:
        """Begins an inference.

        Args:
            given: The inputs of the model that compiled code cannot hold, by name.
        """
        return RegionInference(self, given)

    def run_alone(self, inputs: Sequence[Any]) -> list[Any]:
        """Runs the one region that is the whole model."""
        (name,) = self._executors
        return self.execute(name, inputs)

    def execute(self, name: str, inputs: Sequence[Any]) -> list[Any]:
        """Runs a region; its inferences take turns."""
        if not recording.on:
            return self._run(name, inputs)
        with REGION.event(name, executor=self._regions[name].executor):
            return self._run(name, inputs)

    def _run(self, name: str, inputs: Sequence[Any]) -> list[Any]:
        with self._locks[name]:
            return self._executors[name].run(inputs)

    def close(self) -> None:
        """Gives back what the regions have outside of this process's memory."""
        for executor in self._executors.values():
            executor.close()

    def info(self, name: str) -> RegionInfo:
        """Returns what the manifest says of a region."""
        return self._regions[name]


class RegionInference:
    """What the regions of one inference are given and make beside what compiled code holds.

    Attributes:
        made: Outputs of the model that compiled code cannot hold, by name.
    """

    def __init__(self, regions: HostedRegions, given: Mapping[str, Any]) -> None:
        self._regions = regions
        self._given = given
        self.made: dict[str, Any] = {}

    def run(self, name: str, arrays: Sequence[Array]) -> list[Array] | None:
        """Runs a region that compiled code calls.

        Args:
            name: What the code calls it by.
            arrays: What the code holds of its inputs, and what it has it write to.

        Returns:
            What the code holds of its outputs; None where it wrote to what it was given.
        """
        if name.startswith(NPU_PREFIX):
            self._fill(name.removeprefix(NPU_PREFIX), arrays)
            return None
        return self._return(name.removeprefix(REGION_PREFIX), arrays)

    def _return(self, name: str, arrays: Sequence[Array]) -> list[Array]:
        region = self._regions.info(name)
        passed = iter(arrays)
        inputs = [
            from_code(next(passed), spec.dtype) if spec.in_code else self._given[spec.name]
            for spec in region.inputs
        ]
        results = self._regions.execute(name, inputs)
        held = []
        for spec, result in zip(region.outputs, results, strict=True):
            if spec.in_code:
                held.append(to_code(aligned(result)))
            else:
                self.made[spec.name] = result
        if not held:
            dtype, shape = MARK
            held.append(aligned(np.zeros(shape, dtype)))
        return held

    def _fill(self, name: str, arrays: Sequence[Array]) -> None:
        count = len(self._regions.info(name).inputs)
        results = self._regions.execute(name, arrays[:count])
        for destination, result in zip(arrays[count:], results, strict=True):
            if (result.dtype, result.shape) != (destination.dtype, destination.shape):
                raise ArtifactError(
                    f"region {name} makes {result.dtype.name}{list(result.shape)} where the "
                    f"artifact's code takes {destination.dtype.name}{list(destination.shape)}: "
                    "compile it again"
                )
            np.copyto(destination, result)


def hosted_regions(
    reader: ArtifactReader, weights: Mapping[str, Array], threads: int, npu_executor: str | None
) -> HostedRegions | None:
    """Makes what runs the regions of an artifact; None where it has none.

    Args:
        reader: The artifact.
        weights: Its weights by name.
        threads: How many threads an executor may use.
        npu_executor: The kind of executor for NPU regions; the default if not given.

    Raises:
        ArtifactError: A region is damaged, or of a kind that this Ingot does not know.
        UsageError: No such kind of executor, or nothing for it.
        IngotError: What an executor needs is not installed; says how to install it.
    """
    regions = reader.manifest.regions
    if npu_executor is not None and not reader.manifest.npu_regions:
        raise UsageError(
            f"{reader.path} has no NPU regions, so there is nothing for executor {npu_executor!r}"
        )
    if not regions:
        return None
    executors: dict[str, Executor] = {}
    for kind in sorted({region.executor for region in regions.values()}):
        if kind not in _MAKERS:
            raise ArtifactError(
                f"{reader.path} has a region for executor {kind!r}, which this Ingot does not "
                f"know; it knows {', '.join(_MAKERS)}: install the Ingot that made it"
            )
        module, function = _MAKERS[kind]
        try:
            make = getattr(importlib.import_module(module), function)
        except ModuleNotFoundError as error:
            extra = "fallback" if kind == "onnxruntime" else kind
            raise IngotError(
                f"{reader.path} has parts that {kind} runs, which needs {error.name}: install it "
                f"with `pip install 'ingot[{extra}]'`"
            ) from error
        own = {name: region for name, region in regions.items() if region.executor == kind}
        executors.update(make(own, reader, weights, threads, npu_executor))
    return HostedRegions(regions, executors)
