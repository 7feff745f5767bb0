"""Rewrites that the graph behind them magnifies are taken back; wrong ones are not forgiven."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from ingot.compiler.verification import ReferenceCheck
from ingot.passes.base import PassOptions
from ingot.passes.fusion.rewriting import Builder, Fusion, FusionPass
from ingot.passes.manager import PassManager, PipelineRun
from ingot.passes.record import PassCheckError
from tests.graphs import nodes, parse

# The products of [near] and [far] are followed by a difference of nearly equal numbers.
MODEL = """<ir_version: 10, opset_import: ["":21]>
g (float[N, 8] xr) => (float[N, 8] y, float[N, 8] z, float[N, 8] v)
<float tiny = {1e-5}, float one = {1}, float w = {3}, float huge = {1e5}> {
  [scale] t = Mul(xr, tiny)  x = Add(t, one)
  [first] a = Mul(x, w)
  [far] b = Mul(a, w)
  c = Relu(b)
  [near] d = Mul(c, w)
  e = Sub(d, w)  f = Sub(e, w)
  m = ReduceMean(d)  g = Sub(d, m)
  [stretch] y = Mul(g, huge)
  [harmless] h = Mul(xr, w)
  z = Neg(h)
  v = Abs(h)
}"""


class Reciprocals(FusionPass[PassOptions]):
    """Divides by the reciprocal instead of multiplying by 3: right, but rounded otherwise."""

    name = "test.reciprocals"
    summary = "Divides instead of multiplying."
    candidates = frozenset({"Mul"})
    operator = "Div"

    def match(self, node: ir.Node) -> Fusion | None:
        factor = node.inputs[1]
        if factor is None or factor.name != "w":
            return None

        def build(builder: Builder) -> ir.Value:
            third = builder.initializer("third", np.array(1 / 3, np.float32))
            return builder.node(self.operator, [node.inputs[0], third])

        return Fusion(node, [node], build)


class Subtracting(Reciprocals):
    """Is wrong."""

    operator = "Sub"


class Foreign(ir.passes.InPlacePass):
    """Does the same as a pass that tells no places."""

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        return ir.passes.PassResult(model, Reciprocals().call(model).modified)


def run(pass_: ir.passes.PassBase) -> tuple[ir.Model, PipelineRun]:
    model = parse(MODEL)
    return model, PassManager([pass_], check=ReferenceCheck.for_model(model)).run(model.clone())


def test_only_the_places_that_are_magnified_are_left() -> None:
    pass_ = Reciprocals()
    _, outcome = run(pass_)
    (record,) = outcome.records
    kept = {node.name for node in outcome.model.graph if node.op_type == "Mul"}
    assert "near" in kept
    assert "harmless" not in kept
    assert {declined.node for declined in record.declined} == kept - {"scale", "stretch"}
    assert all("it rounds otherwise" in declined.reason for declined in record.declined)
    assert outcome.notes[0].startswith("test.reciprocals, '")
    assert record.check is not None
    assert record.applied == nodes(outcome.model).count("Div") >= 1
    assert pass_.left_out == frozenset()


def test_a_wrong_rewrite_fails_as_it_did() -> None:
    with pytest.raises(PassCheckError) as caught:
        run(Subtracting())
    assert caught.value.first.tensor in {"a", "h"}


def test_a_pass_that_tells_no_places_is_left_out_as_a_whole() -> None:
    before, outcome = run(Foreign())
    assert nodes(outcome.model) == nodes(before)
    (record,) = outcome.records
    assert not record.changed
    assert outcome.notes[0].startswith("Foreign, 'Foreign': left as it was")
