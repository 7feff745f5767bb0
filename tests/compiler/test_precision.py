"""Models compiled in 16 bits: what is asked for, what an artifact says, what code is held to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ingot.arithmetic import Arithmetic
from ingot.compiler.build import compile_model
from ingot.compiler.recipe import load_recipe
from ingot.errors import UsageError
from ingot.passes.precision.placement import MULTIPLIED
from ingot.reference.session import Reference
from ingot.targets.cpu.target import CpuTarget
from tests.passes.quantization.networks import residual_network

UNITS = Arithmetic(sixteen_bits={kind: frozenset(MULTIPLIED) for kind in ("bf16", "fp16")})


@pytest.mark.parametrize("kind", ["bf16", "fp16"])
def test_where_the_target_multiplies_in_16_bits_layers_do(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CpuTarget, "arithmetic", UNITS)
    graph = tmp_path / "graph.onnx"
    artifact = compile_model(
        residual_network(), tmp_path / "a.ingot", recipe=kind, save_graph=graph
    )
    assert set(artifact.manifest.precision["layers"].values()) == {kind}
    found = artifact.manifest.measured["verification"]
    assert found["reference"] == "graph after the passes"
    assert found["rms_error"] < found["rms_noise"]
    inputs = {"x": np.random.default_rng(5).normal(size=(3, 3, 8, 8)).astype(np.float32)}
    expected = Reference(graph).run(inputs)["y"]
    actual = artifact.session(threads=1).run(inputs)["y"]
    scale = {"bf16": 2.0**-8, "fp16": 2.0**-11}[kind]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=4 * scale * np.abs(expected).max())


def test_where_it_does_not_weights_alone_are_in_16_bits_and_the_record_says_so(
    tmp_path: Path,
) -> None:
    artifact = compile_model(
        residual_network(),
        tmp_path / "a.ingot",
        precision="bf16",
        target="cpu:mcpu=x86-64-v3",
    )
    (record,) = [
        record for record in artifact.manifest.passes if record["name"] == "precision.sixteen-bits"
    ]
    reasons = {declined["reason"] for declined in record["declined"]}
    assert reasons == {f"the target does not multiply a {op} in bf16" for op in ("Conv", "Gemm")}
    assert artifact.manifest.precision["default"] == "bf16"


def test_a_precision_is_added_to_a_recipe_that_has_none() -> None:
    assert load_recipe("fp32").computed_in("bf16") == load_recipe("bf16")
    assert load_recipe("fp32").computed_in("int8") == load_recipe("int8")
    assert load_recipe("int8").computed_in("int8") == load_recipe("int8")
    with pytest.raises(UsageError, match="'int8' computes in int8, and bf16 is asked for"):
        load_recipe("int8").computed_in("bf16")


def test_two_precisions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one of quantize=int8 and precision=bf16 has to go"):
        compile_model(residual_network(), tmp_path / "a.ingot", quantize="int8", precision="bf16")
