"""A simplifier that fails, or changes what is computed, is reported and its result dropped."""

from __future__ import annotations

from typing import Any

import onnx
import onnx_ir as ir
import onnxsim
import pytest
from onnx import parser

from ingot.compiler.inputs import random_inputs
from ingot.compiler.simplification import TARGET_OPSET, raise_opset, simplify
from ingot.compiler.verification import ReferenceCheck

FOLDABLE = """<ir_version: 10, opset_import: ["" : 20]>
g (float[2, 3] x) => (float[6] y) {
  two = Constant<value = int64[1] {2}>()
  three = Constant<value = int64[1] {3}>()
  six = Mul(two, three)
  y = Reshape(x, six)
}"""


@pytest.fixture
def model() -> ir.Model:
    return ir.from_proto(parser.parse_model(FOLDABLE))


def check_of(model: ir.Model) -> ReferenceCheck:
    return ReferenceCheck([random_inputs(model)])


@pytest.fixture
def check(model: ir.Model) -> ReferenceCheck:
    return check_of(model)


def operators(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def test_constants_are_folded(model: ir.Model, check: ReferenceCheck) -> None:
    simplified, notes = simplify(model, check)
    assert "Mul" not in operators(simplified)
    assert notes == []


def test_a_simplifier_that_fails_is_reported(
    model: ir.Model, check: ReferenceCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no luck\nat all")

    monkeypatch.setattr(onnxsim, "simplify", fail)
    result, notes = simplify(model, check)
    assert result is model
    assert notes == ["onnxsim failed and its result was dropped: no luck"]


def test_a_simplifier_that_changes_results_is_reported(
    model: ir.Model, check: ReferenceCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(proto: onnx.ModelProto, **_: Any) -> tuple[onnx.ModelProto, bool]:
        wrong = parser.parse_model(FOLDABLE)
        wrong.graph.node[-1].output[0] = "flat"
        wrong.graph.node.append(onnx.helper.make_node("Neg", ["flat"], ["y"], "neg"))
        return wrong, True

    monkeypatch.setattr(onnxsim, "simplify", change)
    result, notes = simplify(model, check)
    assert result is model
    assert notes[0].startswith("onnxsim changed the results and its result was dropped: ")
    assert "tensor 'y' differs" in notes[0]


def test_a_simplifier_that_loses_an_input_is_reported(
    model: ir.Model, check: ReferenceCheck, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = parser.parse_model(FOLDABLE.replace(" x)", " z)").replace("(x,", "(z,"))
    monkeypatch.setattr(onnxsim, "simplify", lambda *_, **__: (other, True))
    assert simplify(model, check) == (
        model,
        ["onnxsim changed the model's inputs and its result was dropped"],
    )


def test_the_opset_is_raised(model: ir.Model) -> None:
    raised, notes = raise_opset(model, check_of(model))
    assert raised.opset_imports[""] == TARGET_OPSET
    assert notes == []


def test_an_opset_that_cannot_be_raised_stays_and_is_noted() -> None:
    text = """<ir_version: 8, opset_import: ["" : 20, "com.acme" : 1]>
        g (float[2] x) => (float[2] y) { y = com.acme.Magic(x) }"""
    model = ir.from_proto(parser.parse_model(text))
    result, notes = raise_opset(model, check_of(model))
    assert (result.opset_imports[""] == 20) == bool(notes)


def test_a_newer_opset_stays_as_it_is() -> None:
    model = ir.from_proto(parser.parse_model(FOLDABLE.replace(": 20", ": 24")))
    assert raise_opset(model, check_of(model)) == (model, [])
