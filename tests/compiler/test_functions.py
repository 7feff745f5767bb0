"""Functions are inlined; operators that a target lacks become the bodies that ONNX defines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from ingot.compiler.build import compile_model
from ingot.compiler.functions import expand_operators
from ingot.compiler.ingest import ingest
from ingot.compiler.reference_samples import reference_samples
from ingot.onnx_graph.shape_inference import infer_shapes
from ingot.passes.invariants import check_graph
from ingot.reference.session import Reference
from tests.graphs import assert_bit_equal, nodes, parse

BODIES = {
    "Celu": "g (float[N, 3] x) => (float[N, 3] y) { [it] y = Celu<alpha = 2.0>(x) }",
    "SoftmaxCrossEntropyLoss": """g (float[N, 5, 7] x, int64[N, 7] t) =>
        (float[N, 7] y, float[N, 5, 7] z) <float[5] w = {1, 2, 3, 4, 5}> {
        [it] y, z = SoftmaxCrossEntropyLoss<reduction = "none", ignore_index = 3>(x, t, w) }""",
    "NegativeLogLikelihoodLoss": """g (float[N, 5] x, int64[N] t) => (float y) {
        [it] y = NegativeLogLikelihoodLoss<reduction = "mean">(x, t) }""",
    "CenterCropPad": """g (float[N, 5, 8] x) => (float[N, 6, 4] y) <int64[2] s = {6, 4}> {
        [it] y = CenterCropPad<axes = [1, 2]>(x, s) }""",
    "LogSoftmax": "g (float[N, 5] x) => (float[N, 5] y) { [it] y = LogSoftmax<axis = 1>(x) }",
    "Clip": """g (float[N, 5] x) => (float[N, 5] y) <float low = {-0.5}> {
        [it] y = Clip(x, low) }""",
}


def model_of(text: str) -> ir.Model:
    model = parse(f'<ir_version: 10, opset_import: ["" : 23]> {text}')
    infer_shapes(model)
    return model


@pytest.mark.parametrize("operator", BODIES)
def test_a_body_computes_what_the_operator_does(operator: str) -> None:
    model = model_of(BODIES[operator])
    expanded = model.clone()
    lacked = {operator, "NegativeLogLikelihoodLoss"}
    assert expand_operators(expanded, lambda domain, kind: kind not in lacked) == 1
    assert lacked.isdisjoint(nodes(expanded))
    assert all(node.name and node.name.startswith("it/") for node in expanded.graph)
    check_graph(expanded)
    for sample in reference_samples(model).samples:
        found = Reference(expanded).run(sample.inputs)
        for name, expected in sample.outputs.items():
            np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6)


def test_what_the_target_knows_is_kept() -> None:
    model = model_of(BODIES["Celu"])
    assert expand_operators(model, lambda domain, kind: True) == 0
    assert nodes(model) == ["Celu"]


def test_a_body_of_what_the_target_lacks_as_well_is_no_help() -> None:
    model = model_of(BODIES["Celu"])
    assert expand_operators(model, lambda domain, kind: kind not in {"Celu", "Elu", "Exp"}) == 0
    assert nodes(model) == ["Celu"]


def test_nodes_of_branches_are_expanded_where_they_are() -> None:
    model = model_of("""g (float[2, 3] x, bool c) => (float[2, 3] y) {
        y = If (c) <
          then_branch = one () => (float[2, 3] a) { n = Neg(x)  a = Celu(n) },
          else_branch = two () => (float[2, 3] b) { b = Celu<alpha = 3.0>(x) }
        > }""")
    before = model.clone()
    assert expand_operators(model, lambda domain, kind: kind != "Celu") == 2
    for condition in (True, False):
        inputs = {"x": np.ones((2, 3), np.float32), "c": np.array(condition)}
        assert_bit_equal(Reference(before).run(inputs), Reference(model).run(inputs))


def test_functions_of_the_model_are_inlined_whatever_is_known() -> None:
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 23, "own" : 1]>
        g (float[N, 3] x) => (float[N, 3] y) { h = own.Relu(x)  y = own.Relu(h) }
        <domain: "own", opset_import: ["" : 23]> Relu (a) => (b) { b = Neg(a) }""")
    found = ingest(model, simplified=False).model
    assert nodes(found) == ["Neg", "Neg"]
    assert not found.functions


def test_losses_compile_without_a_region(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 18]>
        g (float[N, 5, 6] x, int64[N, 6] t) => (float loss, float[N, 5, 6] z, float[N, 6, 4] crop)
        <int64[2] s = {6, 4}> {
        loss, z = SoftmaxCrossEntropyLoss<ignore_index = 2>(x, t)
        c = Celu(x)
        crop = CenterCropPad<axes = [1, 2]>(c, s) }""")
    artifact = compile_model(model, tmp_path / "m.ingot", fallback=False)
    assert not artifact.manifest.regions
    assert artifact.manifest.source["notes"] == []
