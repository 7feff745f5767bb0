"""From a model and a recipe to a verified artifact."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import parser

import ingot.targets.cpu.target as cpu_target
from ingot.compiler.build import Artifact, compile_model
from ingot.errors import DataError, UnsupportedOperatorError, UsageError, VerificationError
from ingot.runtime.artifact import ArtifactReader
from tests.conftest import small_network


def test_the_artifact_agrees_with_the_reference(small_artifact: Artifact) -> None:
    outcome = small_artifact.manifest.measured["verification"]
    assert outcome["ran"]
    assert outcome["max_rel_error"] < 1e-5


def test_the_same_model_and_recipe_give_the_same_members(
    small_artifact: Artifact, small_model: Path, tmp_path: Path
) -> None:
    again = compile_model(small_model, tmp_path / "again.ingot")
    assert again.manifest.members == small_artifact.manifest.members
    assert dataclasses.replace(again.manifest, measured={}) == dataclasses.replace(
        small_artifact.manifest, measured={}
    )


def test_the_graph_that_code_is_made_of_is_saved(small_model: Path, tmp_path: Path) -> None:
    graph = tmp_path / "graph.onnx"
    artifact = compile_model(small_model, tmp_path / "m.ingot", save_graph=graph)
    saved = onnx.load(graph)
    onnx.checker.check_model(saved)
    kinds = {node.op_type for node in saved.graph.node}
    assert "Conv" in kinds
    assert "BatchNormalization" not in kinds
    assert len(saved.graph.node) == artifact.manifest.passes[-1]["nodes_after"]


def test_stages_and_passes_are_told_as_they_begin(small_model: Path, tmp_path: Path) -> None:
    told: list[str] = []
    artifact = compile_model(
        small_model, tmp_path / "m.ingot", progress=lambda what, done, total: told.append(what)
    )
    passes = [f"pass {record['name']}" for record in artifact.manifest.passes]
    assert "pass fusion.conv-batch-norm" in passes
    assert told == [
        "reading and checking the model",
        "running the passes",
        *passes,
        "generating code",
        "packing the artifact",
        "checking the code against ONNX Runtime",
    ]


def test_the_folder_for_graphs_may_be_a_string(small_model: Path, tmp_path: Path) -> None:
    compile_model(small_model, tmp_path / "m.ingot", dump_passes=str(tmp_path / "graphs"))
    assert (tmp_path / "graphs" / "00-input.onnx").is_file()


def test_a_bound_shape_is_what_the_artifact_takes(small_model: Path, tmp_path: Path) -> None:
    artifact = compile_model(
        small_model, tmp_path / "m.ingot", shapes={"image": (1, 3, 16, 16)}, recipe="none"
    )
    assert artifact.manifest.inputs[0].shape == (1, 3, 16, 16)
    assert artifact.manifest.outputs[0].shape == (1, 10)


def test_external_weights_end_up_in_the_artifact(tmp_path: Path) -> None:
    path = tmp_path / "external.onnx"
    onnx.save(small_network(), path, save_as_external_data=True, location="w", size_threshold=0)
    artifact = compile_model(path, tmp_path / "m.ingot")
    (tmp_path / "w").unlink()
    assert artifact.manifest.measured["verification"]["ran"]
    assert artifact.session().run(np.zeros((1, 3, 16, 16), np.float32))["logits"].shape == (1, 10)


def test_each_pass_can_be_dumped(small_model: Path, tmp_path: Path) -> None:
    compile_model(small_model, tmp_path / "m.ingot", dump_passes=tmp_path / "dump")
    names = sorted(os.listdir(tmp_path / "dump"))
    assert names[0] == "00-input.onnx"
    onnx.checker.check_model(str(tmp_path / "dump" / names[-1]))


def test_wrong_code_is_never_written(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lower = cpu_target.lower_module

    def spoil(*arguments: object) -> object:
        lowered = lower(*arguments)
        for array in lowered.weights.values():
            array[...] = np.roll(array, 1)
        return lowered

    monkeypatch.setattr(cpu_target, "lower_module", spoil)
    with pytest.raises(VerificationError, match="the compiled code is not right: tensor 'logits'"):
        compile_model(small_model, tmp_path / "m.ingot")
    assert os.listdir(tmp_path) == []


def test_code_for_another_cpu_is_built_but_said_to_be_unchecked(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingot.compiler.agreement.missing_features", lambda _: ["amx_tile"])
    artifact = compile_model(small_model, tmp_path / "m.ingot", target="cpu:mcpu=sapphirerapids")
    assert artifact.manifest.measured["verification"] == {
        "ran": False,
        "reason": "the code is for another CPU",
    }
    assert "avx512f" in artifact.manifest.target.features
    ArtifactReader(artifact.path).verify()


def test_an_operator_without_lowering_is_named_with_its_node(tmp_path: Path) -> None:
    model = parser.parse_model("""<ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1]>
        g (float[5,4] x) => (float[5,5] y) { [distances] y = com.microsoft.CDist(x, x) }""")
    with pytest.raises(
        UnsupportedOperatorError,
        match=r"'distances' \(com.microsoft.CDist\): no lowering for this operator",
    ):
        compile_model(model, tmp_path / "m.ingot", fallback=False)
    assert os.listdir(tmp_path) == []


def test_a_shape_that_the_graph_reads_is_named_as_the_reason(tmp_path: Path) -> None:
    model = parser.parse_model("""<ir_version: 10, opset_import: ["" : 20]>
        g (float[N, M] x, int64[K] t) => (float[A, B, C] y) { [shape] y = Reshape(x, t) }""")
    with pytest.raises(UnsupportedOperatorError, match=r"'shape' \(Reshape\): "):
        compile_model(model, tmp_path / "m.ingot", fallback=False)


# Random indices are 0 or 1; the reference refuses what they become.
UNRUNNABLE = """<ir_version: 10, opset_import: ["" : 20]>
    g (float[3] x, int64[2] n) => (float[2] y) {
      far = Constant <value = int64 {100}> ()
      i = Add(n, far)
      y = Gather(x, i)
    }"""


def test_what_cannot_be_verified_is_compiled_only_when_asked_for(tmp_path: Path) -> None:
    model = parser.parse_model(UNRUNNABLE)
    with pytest.raises(VerificationError, match="cannot be verified: .* verify.enabled = false"):
        compile_model(model, tmp_path / "m.ingot")
    assert os.listdir(tmp_path) == []
    compile_model(model, tmp_path / "m.ingot", recipe={"verify": {"enabled": False}})
    assert os.listdir(tmp_path) == ["m.ingot"]


def test_what_cannot_be_verified_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingot.compiler.build.PassManager", None)
    for text, reason in (
        (UNRUNNABLE, "ONNX Runtime cannot run the model"),
        (NO_NUMBER, "output 'y' has no finite number on any input"),
    ):
        with pytest.raises(VerificationError, match=reason):
            compile_model(parser.parse_model(text), tmp_path / "m.ingot")


NO_NUMBER = """<ir_version: 10, opset_import: ["" : 20]>
    g (float[2, 8] x) => (float[2, 8] y) { s = Mul(x, x)  n = Neg(s)  y = Log(n) }"""


def test_real_inputs_make_a_model_verifiable(tmp_path: Path) -> None:
    inputs = {"x": np.arange(3, dtype=np.float32), "n": np.array([-99, -98])}
    model = parser.parse_model(UNRUNNABLE)
    artifact = compile_model(model, tmp_path / "m.ingot", verify_data=[inputs])
    assert artifact.manifest.measured["verification"]["samples"] == 1
    assert artifact.manifest.source["notes"][0].startswith("checked on the given inputs alone")
    with pytest.raises(DataError, match="example 0 of the data given to verify does not fit"):
        compile_model(model, tmp_path / "m.ingot", verify_data=[{"x": inputs["x"]}])


def test_real_inputs_by_a_path_of_the_recipe(small_model: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(size=(3, 3, 16, 16)).astype(np.float32)
    np.savez(tmp_path / "real.npz", image=images)
    recipe = {"verify": {"data": str(tmp_path / "real.npz")}}
    artifact = compile_model(small_model, tmp_path / "m.ingot", recipe=recipe)
    found = artifact.manifest.measured["verification"]
    assert found["samples"] == 3 + len(found["sizes"])


@pytest.mark.parametrize(
    ("output", "message"),
    [(".", "is a folder: give a file name"), ("none/m.ingot", "does not exist: make it first")],
)
def test_an_output_that_cannot_be_is_refused_first(
    small_model: Path, tmp_path: Path, output: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        compile_model(small_model, tmp_path / output)
