"""MLPerf Tiny's networks on an NPU, from the published checkpoint to a session's results."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

pytest.importorskip("ethosu.regor", reason="the extra npu is not installed")
pytest.importorskip("tosa_reference_model", reason="the extra npu is not installed")

from ingot.compiler.build import Artifact, compile_model
from ingot.models.checkpoint_models import CHECKPOINT_MODELS, export_checkpoint
from ingot.reference.session import Reference
from ingot.runtime.session import Session
from tests.models.mlperf_tiny import CHECKPOINTS, mlperf_tiny

RECIPE = {"passes": ["cleanup", "fusion", "quantization.qdq"], "precision": "int8"}
# Of what the networks take: pixels of 0 to 255, of 0 to 1, cepstral coefficients, decibels.
SCALES = {"resnet8": 255.0, "vww_mobilenet": 1.0, "ds_cnn": 40.0, "autoencoder": 40.0}


@pytest.fixture(scope="module", params=CHECKPOINT_MODELS)
def network(request, tmp_path_factory) -> tuple[Artifact, Path, list[np.ndarray]]:
    """A network's artifact for an Ethos-U55-128, its quantized graph, and inputs."""
    folder = tmp_path_factory.mktemp(request.param)
    model = folder / "model.onnx"
    export_checkpoint(request.param, mlperf_tiny(CHECKPOINTS[request.param]), model)
    shape = onnx.load(model).graph.input[0].type.tensor_type.shape.dim
    generator = np.random.default_rng(0)
    inputs = [
        (SCALES[request.param] * generator.uniform(0, 1, (1, *(d.dim_value for d in shape[1:]))))
        .astype(np.float32)
        for _ in range(10)
    ]  # fmt: skip
    artifact = compile_model(
        model,
        folder / "model.ingot",
        recipe=RECIPE,
        target="npu:ethos-u55-128,mcpu=generic,fallback=false",
        calibration=[{"input": array} for array in inputs[:8]],
        save_graph=folder / "quantized.onnx",
    )
    return artifact, folder / "quantized.onnx", inputs[8:]


def test_the_npu_computes_all_of_it(network):
    artifact, _, _ = network
    placement = artifact.manifest.placement
    assert placement["cpu"]["left"] == []
    assert placement["npu"]["share_of_macs"] == 1.0
    assert placement["npu"]["regions"] == ["region0"]


def test_the_result_is_onnx_runtimes_within_one_step_of_8_bits(network):
    artifact, graph, inputs = network
    reference = Reference(graph)
    (name,) = reference.outputs
    with Session(artifact.path) as session:
        for array in inputs:
            expected = reference.run({"input": array})[name]
            step = np.ptp(expected) / 255
            assert np.abs(session.run(array)[name] - expected).max() <= step


def test_the_command_stream_gives_the_same_bits(network):
    artifact, _, inputs = network
    (name,) = (value.name for value in artifact.manifest.outputs)
    with (
        Session(artifact.path) as reference,
        Session(artifact.path, executor="command-stream") as stream,
    ):
        for array in inputs:
            np.testing.assert_array_equal(reference.run(array)[name], stream.run(array)[name])


def test_the_benchmark_compares_it_with_arms_own_route(tmp_path, capsys):
    pytest.importorskip("ai_edge_litert", reason="TensorFlow Lite (ai-edge-litert) is missing")
    from benchmarks.npu_mlperf_tiny import main

    data, out = mlperf_tiny(CHECKPOINTS["ds_cnn"]).parents[1], tmp_path / "rows.json"
    arguments = ["--models", "ds_cnn", "--accelerators", "ethos-u55-128", "--limit", "2"]
    assert main([*arguments, "--data", str(data), "--layers", "--json", str(out)]) == 0

    content = json.loads(out.read_text())
    (row,), (accuracy,) = content["rows"], content["accuracy"]
    assert row["ingot"]["cycles"] <= row["arm"]["cycles"] < row["arm_with_softmax"]["cycles"]
    assert accuracy["n"] == 2
    printed = capsys.readouterr().out
    layers = [line.split("|")[1].strip() for line in printed.splitlines() if "conv2d" in line]
    assert layers[:3] == ["conv2d", "depthwise_conv2d", "conv2d_1"]
    assert f"{row['arm']['cycles']:,}" in printed
