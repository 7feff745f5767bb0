"""A model for an NPU, from ONNX to a session's results."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("ethosu.regor", reason="the extra npu is not installed")
pytest.importorskip("tosa_reference_model", reason="the extra npu is not installed")

from ingot.compiler.build import Artifact, compile_model
from tests.conftest import small_network

TARGET = "npu:ethos-u55-256,mcpu=generic"
RECIPE = {"passes": ["cleanup", "fusion", "quantization.qdq"], "precision": "int8"}


def calibration(count: int = 4) -> list[dict[str, np.ndarray]]:
    generator = np.random.default_rng(0)
    return [
        {"image": generator.normal(size=(1, 3, 16, 16)).astype(np.float32)} for _ in range(count)
    ]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    path = tmp_path_factory.mktemp("npu") / "small.ingot"
    return compile_model(
        small_network(), path, target=TARGET, recipe=RECIPE, calibration=calibration()
    )


def test_nothing_is_left_to_the_cpu(artifact: Artifact) -> None:
    placement = artifact.manifest.placement
    assert placement["cpu"]["left"] == []
    assert placement["npu"]["share_of_macs"] == 1.0
    assert placement["npu"]["regions"] == ["region0"]


def test_the_batch_is_one_where_the_model_leaves_it_open(artifact: Artifact) -> None:
    assert artifact.manifest.inputs[0].shape == (1, 3, 16, 16)


def test_the_result_is_that_of_the_quantized_graph(artifact: Artifact) -> None:
    assert artifact.manifest.measured["verification"]["rms_error"] < 1e-6
