"""Running a region by ONNX Runtime, its weights where they lie in the artifact."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from ingot.errors import ArtifactError, InputError, first_line
from ingot.runtime.artifact import ArtifactReader
from ingot.runtime.cpu_features import machine_features
from ingot.runtime.manifest import CODE_MEMBER, RegionInfo
from ingot.runtime.onnxruntime.region import model_member, read_region
from ingot.runtime.onnxruntime.values import has_special_types, run_session

Array = npt.NDArray[Any]

# Either has 8-bit products that do not saturate, by the kernel's names.
_VNNI = frozenset({"avx512_vnni", "avx_vnni"})


class OnnxRuntimeExecutor:
    """A region in ONNX Runtime.

    Args:
        name: The region's name, for errors.
        info: What the manifest says of it.
        model: Its serialized model, without its large weights.
        weights: Those weights by their names in the model; they have to outlive the executor.
        threads: Threads within an operator.
        alone: Whether it is the whole model: its threads may then wait in a loop, as those of
            ONNX Runtime do by default. Beside compiled code they would take the cores from it.
    """

    def __init__(
        self,
        name: str,
        info: RegionInfo,
        model: bytes,
        weights: Mapping[str, Array],
        threads: int,
        *,
        alone: bool,
    ) -> None:
        self._name = name
        self._outputs = [spec.name for spec in info.outputs]
        self._inputs = [spec.name for spec in info.inputs]
        options = ort.SessionOptions()
        options.log_severity_level = 4  # errors are raised; on stderr as well they would show twice
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Sums of products of u8 and s8 would saturate at int16 (QDQ that is fused). Only there:
        # the weights that it shifts may not be shared by two nodes where they are lent.
        if not _VNNI & machine_features():
            options.add_session_config_entry("session.x64quantprecision", "1")
        if not alone:
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._lent = [ort.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
        if weights:
            options.add_external_initializers(list(weights), self._lent)
        self._session = self._load(model, options)
        self._run: Callable[[list[str], dict[str, Any]], list[Any]] = (
            functools.partial(run_session, self._session)
            if has_special_types(self._session)
            else self._session.run
        )

    def _load(self, model: bytes, options: ort.SessionOptions) -> ort.InferenceSession:
        """Loads the model; with fewer optimizations where ONNX Runtime fails in one."""
        levels = ort.GraphOptimizationLevel
        errors: list[Exception] = []
        for level in (levels.ORT_ENABLE_ALL, levels.ORT_ENABLE_BASIC):
            options.graph_optimization_level = level
            try:
                return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            except Exception as error:  # noqa: BLE001
                # ONNX Runtime raises errors of many types of its own.
                errors.append(error)
        raise ArtifactError(
            f"ONNX Runtime {ort.__version__} cannot load region {self._name}: "
            f"{first_line(errors[-1])}"
        ) from errors[-1]

    def run(self, inputs: Sequence[Any]) -> list[Any]:
        """Runs the region once; see :class:`ingot.runtime.hosting.Executor`.

        Raises:
            InputError: ONNX Runtime cannot run it on these inputs; says why.
        """
        feeds = dict(zip(self._inputs, inputs, strict=True))
        try:
            results: list[Any] = self._run(self._outputs, feeds)
        except Exception as error:
            raise InputError(
                f"region {self._name} cannot run on these inputs: ONNX Runtime says "
                f"{first_line(error)}"
            ) from error
        return results

    def close(self) -> None:
        """Does nothing: all that the region has goes with this object."""


def make_executors(
    regions: Mapping[str, RegionInfo],
    reader: ArtifactReader,
    weights: Mapping[str, Array],
    threads: int,
    _: str | None,
) -> dict[str, OnnxRuntimeExecutor]:
    """Makes the executors of an artifact's regions for ONNX Runtime.

    Raises:
        ArtifactError: A region is damaged, or ONNX Runtime cannot load it.
    """
    alone = CODE_MEMBER not in reader.manifest.members
    executors = {}
    for name, info in regions.items():
        region = read_region(name, reader.member)
        try:
            own = {key: np.asarray(weights[stored]) for key, stored in region.weights.items()}
        except KeyError as error:
            raise ArtifactError(f"{reader.path} is damaged: weight {error} is missing") from error
        model = bytes(reader.member(model_member(name)))
        executors[name] = OnnxRuntimeExecutor(name, info, model, own, threads, alone=alone)
    return executors
