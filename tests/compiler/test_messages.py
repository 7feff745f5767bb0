"""Refusals come before the work and all at once; notes tell of what is large or slow."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from ingot.compiler.build import compile_model
from ingot.compiler.messages import artifact_notes
from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.tvm_internals import plain_reason


def parsed(text: str, opset: int = 20) -> onnx.ModelProto:
    head = f'<ir_version: 10, opset_import: ["" : {opset}, "com.acme" : 1, "com.microsoft" : 1]>'
    return onnx.parser.parse_model(f"{head} {text}")


def test_operators_that_nobody_knows_are_named_before_anything_else(tmp_path: Path) -> None:
    model = parsed("""g (float[2] x) => (float[2] y) {
        [one] a = com.acme.MyOp(x)  b = Relu(a)  [two] y = com.acme.Other(b) }""")
    with pytest.raises(UnsupportedOperatorError) as caught:
        compile_model(model, tmp_path / "m.ingot")
    assert str(caught.value).startswith(
        "nodes 'one' (com.acme.MyOp), 'two' (com.acme.Other): neither Ingot nor ONNX Runtime knows"
    )


def test_without_fallback_all_missing_operators_are_named_before_the_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingot.compiler.build.PassManager", None)
    model = parsed("""g (float[2, 3] x) => (float[2, 3] y, float z) {
        [first] a = RandomNormalLike<seed = 1.0>(x)  zero = Sub(a, a)  y = Add(x, zero)
        [second] z = Det(s)  s = MatMul(x, t)  t = Transpose(x) }""")
    model.graph.node.sort(key=lambda node: node.op_type == "Det")
    with pytest.raises(UnsupportedOperatorError) as caught:
        compile_model(model, tmp_path / "m.ingot", fallback=False)
    assert "'first' (RandomNormalLike)" in str(caught.value)
    assert "--shape" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "plain"),
    [
        ("CodeGenVM cannot emit this Relax operator directly.", False),
        ('Operator ir.Op(span=None, name="relax.nn.relu") requires argument 0', False),
        ("Check failed: (IsFloatType(x.ty())) is false: power only applies to float", False),
        ("pooling with dilations and indices", True),
    ],
)
def test_reasons_speak_of_the_model_only(said: str, plain: bool) -> None:
    reason = plain_reason(RuntimeError(said))
    assert reason == (said if plain else "there is no lowering for it in this form")


def kernel(operations: int) -> dict[str, object]:
    return {"operators": "x", "operations": operations, "bytes": 1, "calls": 2}


def test_an_artifact_that_outgrows_its_model_is_noted() -> None:
    (note,) = artifact_notes(20 << 20, 90 << 20, {})
    assert note.startswith("the artifact is 4.5 times as large as the model")
    assert artifact_notes(20 << 20, 28 << 20, {}) == ()
    assert artifact_notes(1 << 10, 1 << 20, {}) == ()  # code, of a model of a few nodes


def test_kernels_that_no_schedule_fits_are_noted_if_they_matter() -> None:
    kernels = {"fast": kernel(800), "slow": kernel(200), "small": kernel(0)}
    placement = {"cpu": {"kernels": kernels, "unscheduled": ["slow", "small"]}}
    (note,) = artifact_notes(1, 1, placement)
    assert note.startswith("20% of the operations are in kernels that no schedule fits")
    assert "slow, small" in note
    placement["cpu"]["unscheduled"] = ["small"]
    assert artifact_notes(1, 1, placement) == ()
