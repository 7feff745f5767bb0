"""Serves an ONNX model by ONNX Runtime on the CPU, every graph optimization on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ingot.report.workers.protocol import Array
from ingot.report.workers.serving import serve

_DTYPES = {"float": "float32", "double": "float64"}


class OnnxRuntimeEngine:
    """An inference session with its best settings for one stream of requests."""

    def __init__(self, path: Path, threads: int) -> None:
        """Loads the model."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self.inputs = [
            (value.name, _dtype(value.type), _shape(value.name, value.shape))
            for value in self._session.get_inputs()
        ]
        self.outputs = [value.name for value in self._session.get_outputs()]
        self.facts: dict[str, Any] = {
            "engine": "ONNX Runtime",
            "version": onnxruntime.__version__,
            "provider": ", ".join(self._session.get_providers()),
        }

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Runs one inference."""
        return dict(zip(self.outputs, self._session.run(None, inputs), strict=True))


def imports() -> None:
    """Imports ONNX Runtime."""
    import onnxruntime  # noqa: F401


def _dtype(text: str) -> str:
    name = text.removeprefix("tensor(").removesuffix(")")
    return str(np.dtype(_DTYPES.get(name, name)).name)


def _shape(name: str, shape: list[int | str | None]) -> list[int | str]:
    return [f"{name}_{axis}" if size is None else size for axis, size in enumerate(shape)]


if __name__ == "__main__":
    serve(imports, OnnxRuntimeEngine)
