"""Artifacts for NPUs in a report: their estimates as Vela gave them, their results judged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

pytest.importorskip("ethosu.regor", reason="the extra npu is not installed")
pytest.importorskip("tosa_reference_model", reason="the extra npu is not installed")

from ingot.compiler.build import Artifact, compile_model
from ingot.errors import UsageError
from ingot.report.bench import bench
from ingot.report.compare import compare
from ingot.report.npu import computed_alike, read_estimate
from ingot.report.report import Report
from ingot.runtime import ArtifactReader
from ingot.runtime.npu.region import Region
from tests.command_line import Ingot
from tests.conftest import small_network

RECIPE = {"passes": ["cleanup", "fusion", "quantization.qdq"], "precision": "int8", "name": "q"}
TARGETS = ["npu:ethos-u55-256,mcpu=generic", "npu:ethos-u85-256,mcpu=generic"]
FAST = {"threads": 1, "runs": 20, "seconds": 5.0}


def images(count: int) -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    return [{"image": random.normal(size=(1, 3, 16, 16)).astype(np.float32)} for _ in range(count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``net.onnx`` and ``data.npz``, whose labels are drawn."""
    made = tmp_path_factory.mktemp("npus")
    onnx.save(small_network(1), made / "net.onnx")
    x = np.concatenate([sample["image"] for sample in images(12)])
    np.savez(made / "data.npz", image=x, y=np.arange(12) % 10)
    return made


@pytest.fixture(scope="module")
def artifact(folder: Path) -> Artifact:
    return compile_model(
        folder / "net.onnx", folder / "net.ingot", target=TARGETS[0], recipe=RECIPE,
        calibration=images(4),
    )  # fmt: skip


@pytest.fixture(scope="module")
def report(folder: Path) -> Report:
    return compare(
        folder / "net.onnx", [RECIPE], folder / "data.npz", target=TARGETS, calibration=images(4),
        fail_on=["accuracy<-100", "latency>100x"], **FAST,
    )  # fmt: skip


def test_an_estimate_is_what_the_regions_say(artifact: Artifact) -> None:
    reader = ArtifactReader(artifact.path)
    (region,) = (Region.read(name, reader.member) for name in reader.manifest.npu_regions)
    found = read_estimate(artifact.path)
    assert (found.cycles, found.macs) == (region.estimate.cycles, region.estimate.macs)
    assert found.clock_hz == 500e6
    assert found.utilization == pytest.approx(found.macs / found.cycles / 256)
    assert found.inferences_per_second == pytest.approx(500e6 / found.cycles)
    assert found.left == ()
    assert found.source.startswith("Vela 5.")


def test_an_artifact_for_an_npu_is_not_timed(artifact: Artifact) -> None:
    with pytest.raises(UsageError, match="is for an NPU, and cannot be timed here: `ingot report`"):
        bench(None, artifact=artifact.path, name="net", settings=[])


def test_its_operations_are_those_of_the_multiply_adds(artifact: Artifact) -> None:
    macs = artifact.manifest.placement["npu"]["macs"]
    assert artifact.manifest.operations is not None
    assert 2 * macs <= artifact.manifest.operations < 2.2 * macs


def test_inspect_shows_the_estimates_of_layers(ingot: Ingot, artifact: Artifact) -> None:
    words = ingot("inspect", artifact.path).out.split()
    assert {"region0", "conv1", "conv2", "fc", "estimated"} <= set(words)
    assert f"{artifact.manifest.operations:,}" in words


def test_layers_are_named_after_the_models_nodes(artifact: Artifact) -> None:
    found = read_estimate(artifact.path)
    reader = ArtifactReader(artifact.path)
    region = Region.read("region0", reader.member)
    assert [layer.name for layer in found.layers] == ["conv1", "conv2", "pool", "fc"]
    assert {layer.name for layer in found.layers} <= set(region.nodes)
    for name in ("cycles", "npu_cycles", "macs"):
        rows = region.estimate.layers
        assert sum(getattr(layer, name) for layer in found.layers) == sum(
            getattr(row, name) for row in rows
        )
    assert all(0.0 <= layer.utilization <= 1.0 for layer in found.layers)


def test_npus_that_run_one_graph_need_one_judge(artifact: Artifact, folder: Path) -> None:
    other = compile_model(
        folder / "net.onnx", folder / "other.ingot", target=TARGETS[1], recipe=RECIPE,
        calibration=images(4),
    )  # fmt: skip
    assert computed_alike(artifact.manifest) == computed_alike(other.manifest)
    changed = {**other.manifest.members}
    changed["npu/region0/graph.tosa"] = changed["lib.so"]
    assert computed_alike(type(other.manifest)(**{**vars(other.manifest), "members": changed})) != (
        computed_alike(artifact.manifest)
    )


def test_npus_are_estimated_and_what_they_run_is_timed_in_onnxruntime(report: Report) -> None:
    assert [variant.name for variant in report.variants] == [
        "ONNX Runtime fp32",
        "ONNX Runtime q",
    ]
    assert [variant.name for variant in report.npu] == [
        "Ingot q on ethos-u55-256,mcpu=generic",
        "Ingot q on ethos-u85-256,mcpu=generic",
    ]
    first, second = (variant.estimate for variant in report.npu)
    assert (first.accelerator, second.accelerator) == ("ethos-u55-256", "ethos-u85-256")
    assert first.cycles != second.cycles
    assert first.share_of_macs == second.share_of_macs == 1.0


def test_the_model_is_quantized_once(report: Report) -> None:
    """What Vela compiled for the second NPU is the graph of the first."""
    first, second = (variant.build for variant in report.npu)
    assert first.passes == second.passes
    assert "quantization.qdq" in [record.name for record in first.passes]
    assert second.target.startswith("npu:ethos-u85-256")
    assert second.recipe["name"] == "q"


def test_what_an_npu_computes_is_judged_on_the_same_examples(report: Report) -> None:
    peer = report.variants[1].metrics[0]
    for variant in report.npu:
        metric = variant.metrics[0]
        assert (metric.name, metric.n) == ("top-1", 12)
        assert metric.value.value == peer.value.value
        assert variant.agreement.max_abs_error < 1.0
        assert not variant.agreement.exact
    assert report.npu[0].agreement == report.npu[1].agreement


def test_rules_on_times_do_not_hold_for_npus(report: Report) -> None:
    assert [(check.rule, check.variant) for check in report.checks] == [
        ("accuracy<-100", variant.name) for variant in report.npu
    ]
    assert report.passed


def test_the_headline_is_of_the_fastest_npu(report: Report) -> None:
    best = max(report.npu, key=lambda variant: variant.estimate.inferences_per_second or 0.0)
    assert report.headline.startswith(f"{best.name} is estimated by Vela")
    assert f"({best.estimate.cycles:,} cycles at" in report.headline


def test_an_artifact_for_an_npu_is_not_timed_without_a_peer(folder: Path) -> None:
    with pytest.raises(UsageError, match="cannot be timed here: give a peer"):
        compare(
            folder / "net.onnx", ["none"], target=TARGETS, against=[], calibration=images(4), **FAST
        )
