"""Serves an ONNX model by OpenVINO on the CPU, with the latency hint."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ingot.report.workers.protocol import Array
from ingot.report.workers.serving import serve

# An optional peer: imported by name, since a type checker may not find it.
_PACKAGE = "openvino"

_CAPABILITIES = {"f32": "FP32", "bf16": "BF16"}


class OpenVinoEngine:
    """A compiled model with one inference request.

    The hint of the precision is float32: on CPUs with bfloat16 OpenVINO would otherwise compute in
    it, and a time in another precision is no time of this model.
    """

    def __init__(self, path: Path, threads: int, precision: Literal["f32", "bf16"] = "f32") -> None:
        """Loads and compiles the model.

        Args:
            path: The model.
            threads: Threads per inference.
            precision: Of float operators.

        Raises:
            RuntimeError: OpenVINO cannot compile it, or has no such precision on this CPU.
        """
        openvino = importlib.import_module(_PACKAGE)
        core = openvino.Core()
        if _CAPABILITIES[precision] not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise RuntimeError(f"OpenVINO has no {precision} on this CPU")
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": precision,
        }
        compiled = core.compile_model(str(path), "CPU", settings)
        self._request = compiled.create_infer_request()
        self.inputs = [
            (
                port.get_any_name(),
                np.dtype(port.get_element_type().to_dtype()).name,
                [
                    f"{port.get_any_name()}_{axis}" if size.is_dynamic else size.get_length()
                    for axis, size in enumerate(port.get_partial_shape())
                ],
            )
            for port in compiled.inputs
        ]
        self.outputs = [port.get_any_name() for port in compiled.outputs]
        self.facts: dict[str, Any] = {
            "engine": "OpenVINO",
            "version": openvino.__version__,
            "precision": precision,
        }

    def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Runs one inference."""
        results = self._request.infer(inputs, share_inputs=True, share_outputs=True)
        return dict(zip(self.outputs, results.values(), strict=True))


def imports() -> None:
    """Imports OpenVINO."""
    importlib.import_module(_PACKAGE)


if __name__ == "__main__":
    serve(imports, OpenVinoEngine)
