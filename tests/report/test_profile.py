"""A profile puts each kernel's time beside its work and beside what the machine can do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from ingot.compiler.build import Artifact, compile_model
from ingot.errors import UsageError
from ingot.report.profile import ModelProfile, profile_model
from ingot.runtime.manifest import KernelCost
from tests.costs import with_costs

COST = KernelCost("conv2d+relu", operations=3_000_000, bytes=2_000, calls=1)


@pytest.fixture(scope="module")
def costed(small_artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> ModelProfile:
    """The profile of an artifact whose every kernel has the cost above, on two images."""
    path = tmp_path_factory.mktemp("costed") / "small.ingot"
    with_costs(small_artifact.path, path, {"image": np.zeros((2, 3, 16, 16), np.float32)}, COST)
    shapes = {"image": (2, 3, 16, 16)}
    return profile_model(None, artifact=path, name="small", threads=1, runs=3, shapes=shapes)


def test_it_says_what_was_run(costed: ModelProfile) -> None:
    assert (costed.model, costed.precision, costed.threads) == ("small", "fp32", 1)
    assert costed.input_shapes == {"image": (2, 3, 16, 16)}
    assert costed.inferences == 3
    assert costed.roofline.threads == 1


def test_a_kernel_has_its_rates_and_its_part_of_the_roofline(costed: ModelProfile) -> None:
    for row in costed.rows:
        assert row.operators == "conv2d+relu"
        assert row.gops == pytest.approx(3_000_000 / row.ms / 1e6)
        assert row.gbs == pytest.approx(2_000 / row.ms / 1e6)
        # The operations decide here: their least time against the time taken.
        assert row.percent_of_roofline == pytest.approx(100 * row.gops / costed.roofline.gflops)


def test_the_whole_inference_has_the_work_of_all_kernels(costed: ModelProfile) -> None:
    operations = 3_000_000 * len(costed.rows)
    assert costed.gops == pytest.approx(operations / costed.ms / 1e6)
    assert costed.percent_of_roofline == pytest.approx(100 * costed.gops / costed.roofline.gflops)
    assert costed.kernels_ms == pytest.approx(sum(row.ms for row in costed.rows))


@pytest.mark.parametrize("operators", ["integer_conv2d+cast", "integer_matmul+add"])
def test_an_integer_kernel_is_held_to_the_peak_of_integers(
    small_artifact: Artifact, tmp_path: Path, operators: str
) -> None:
    path = tmp_path / "small.ingot"
    image = {"image": np.zeros((1, 3, 16, 16), np.float32)}
    cost = KernelCost(operators, operations=3_000_000, bytes=2_000, calls=1)
    with_costs(small_artifact.path, path, image, cost)
    found = profile_model(None, artifact=path, name="small", threads=1, runs=1)
    for row in found.rows:
        assert row.percent_of_roofline == pytest.approx(100 * row.gops / found.roofline.int8_gops)


def test_what_has_no_cost_has_a_time_all_the_same(small_artifact: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "small.ingot"
    image = {"image": np.zeros((1, 3, 16, 16), np.float32)}
    with_costs(small_artifact.path, path, image, KernelCost("conv2d", None, None, 1))
    found = profile_model(None, artifact=path, name="small", threads=1, runs=1)
    assert (found.gops, found.percent_of_roofline) == (None, None)
    assert all(row.ms > 0 and row.gops is None and row.gbs is None for row in found.rows)


def test_an_open_dimension_needs_a_shape(small_model: Path) -> None:
    with pytest.raises(UsageError, match="image"):
        profile_model(small_model, name="small", shapes={"image": (1, 3)})


def test_regions_of_onnx_runtime_have_a_row(tmp_path: Path) -> None:
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]>
        regions (float[1, 3, 8, 8] image) => (float[1, 3] y)
        <float[3, 3, 1, 1] w = {1, 2, 3, 4, 5, 6, 7, 8, 9}>
        { a = Conv(image, w) y = Det(a) }"""
    )
    artifact = compile_model(model, tmp_path / "regions.ingot")
    found = profile_model(None, artifact=artifact.path, name="regions", threads=1, runs=2)
    (row,) = (row for row in found.rows if row.kernel == "ingot.region.fallback0")
    assert row.operators == "1 in ONNX Runtime"
    assert row.calls == 1 and row.ms > 0 and row.gops is None
