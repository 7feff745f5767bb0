"""Large nets on an NPU predict what ONNX Runtime predicts of the same quantized graph.

One unit in a layer is another one in the next: two exact ways to run one quantized graph differ in
some of the predictions that were close (ONNX Runtime with and without its optimizations: a tenth),
while both are as near to the float model.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

pytest.importorskip("ethosu.regor", reason="the extra npu is not installed")
pytest.importorskip("tosa_reference_model", reason="the extra npu is not installed")

from ingot.compiler.build import compile_model
from ingot.models.catalog import resolve
from ingot.runtime.session import Session
from tests.conftest import shared_data

pytestmark = [pytest.mark.slow, pytest.mark.network]

RECIPE = {
    "passes": ["cleanup", "fusion", "quantization.equalization", "quantization.qdq"],
    "precision": "int8",
    "calibration": {"limit": 64},
    "target": "npu:ethos-u55-256,mcpu=generic,fallback=false",
}
IMAGES = 40
SIMULATED = 3


def images() -> list[Path]:
    """Validation images, spread evenly over the classes."""
    data = shared_data()
    if data is None or not (data / "imagenet_val").is_dir():
        pytest.skip("the shared test data is not here: set INGOT_SHARED_DATA")
    found = sorted((data / "imagenet_val").glob("*/*.JPEG"))
    return found[:: len(found) // IMAGES][:IMAGES]


@pytest.mark.parametrize("name", ["mobilenetv2", "efficientnet_lite0"])
def test_top1_is_that_of_the_quantized_graph(name: str, tmp_path: Path) -> None:
    chosen = images()
    source = resolve(name)
    graph = tmp_path / "quantized.onnx"
    artifact = compile_model(
        source.path, tmp_path / "net.ingot", recipe=RECIPE, save_graph=graph,
        calibration=chosen[0].parents[2] / "imagenet_calib",
    )  # fmt: skip
    assert artifact.manifest.placement["npu"]["share_of_macs"] == 1.0
    assert artifact.manifest.placement["cpu"]["left"] == []
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    peer, floats = (
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        for path in (graph, source.path)
    )
    found = []
    with (
        Session(artifact.path) as reference,
        Session(artifact.path, executor="command-stream") as stream,
    ):
        for index, path in enumerate(chosen):
            pixels = source.preprocessing.apply(np.asarray(Image.open(path).convert("RGB")))
            (actual,) = reference.run({"input": pixels}).values()
            if index < SIMULATED:
                (simulated,) = stream.run({"input": pixels}).values()
                np.testing.assert_array_equal(simulated, actual)
            others = [session.run(None, {"input": pixels})[0] for session in (peer, floats)]
            found.append(np.stack([actual, *others])[:, 0])
    own, quantized, exact = np.stack(found, axis=1)
    labels = np.array([int(path.parent.name) for path in chosen])
    hits = [int((logits.argmax(1) == labels).sum()) for logits in (own, quantized)]
    assert abs(hits[0] - hits[1]) <= 0.05 * len(chosen)
    assert np.mean(own.argmax(1) == quantized.argmax(1)) >= 0.85
    # No noise is added to that of the quantization.
    assert np.std(own - exact) <= 1.05 * np.std(quantized - exact)
