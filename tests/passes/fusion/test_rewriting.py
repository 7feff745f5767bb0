import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings

from ingot.compiler.inputs import random_inputs
from ingot.onnx_graph.edits import Names
from ingot.onnx_graph.matching import Unfit
from ingot.passes.fusion import PASSES, FuseActivation, FuseConvBatchNorm
from ingot.passes.fusion.rewriting import Builder, Fusion, FusionPass
from ingot.passes.invariants import Interface, check_graph, check_operators
from tests.graphs import models, outputs_of
from tests.passes.fusion.harness import fuse, graph, leave, normal, operators

every_pass = pytest.mark.parametrize("cls", PASSES, ids=lambda cls: cls.name)


@every_pass
@settings(deadline=None, max_examples=40)
@given(model=models())
def test_any_graph_stays_valid_and_computes_the_same(cls, model):
    before = model.clone()
    if not cls()(model).applied:
        return
    check_graph(model)
    check_operators(model)
    Interface.of(before).check_kept(model)
    inputs = random_inputs(before)
    expected, actual = outputs_of(before, inputs), outputs_of(model, inputs)
    for name, left in expected.items():
        # Unlike the manager's check, NaN and infinities are let through: random graphs have them.
        np.testing.assert_allclose(actual[name], left, rtol=1e-4, atol=1e-6, err_msg=name)


@every_pass
def test_declares_what_the_registry_asks_for(cls):
    assert cls.name.startswith("fusion.")
    assert cls.summary.endswith(".")
    assert cls().options == cls.options_type()


def test_names_are_unique():
    assert len({cls.name for cls in PASSES}) == len(PASSES)


def test_fuses_inside_of_branches():
    model = graph(
        "(float[3] x, bool c) => (float[3] y)",
        "y = If(c) <then_branch = t () => (float[3] a) { r = Relu(x) a = Min(r, six) }, "
        "else_branch = e () => (float[3] b) { b = Relu(x) }>",
        {"six": 6.0},
    )
    fuse(FuseActivation, model)
    branch = model.graph.node(0).attributes["then_branch"].as_graph()
    assert operators_of(branch) == ["Clip"]


def operators_of(branch):
    return [node.op_type for node in branch]


def test_a_value_that_a_branch_reads_is_read_from_outside():
    model = graph(
        "(float[3] x, bool c) => (float[3] y, float[3] z)",
        "e = Exp(x) a = Add(e, one) y = Log(a) "
        "z = If(c) <then_branch = t () => (float[3] p) { p = Neg(a) }, "
        "else_branch = e () => (float[3] q) { q = Neg(x) }>",
        {"one": 1.0},
    )
    leave(FuseActivation, model, "'a', inside of the pattern, is also read by")


def test_a_pattern_that_begins_outside_of_a_branch_is_left():
    model = graph(
        "(float[3] x, bool c) => (float[3] y)",
        "r = Relu(x) y = If(c) <then_branch = t () => (float[3] a) { a = Min(r, six) }, "
        "else_branch = e () => (float[3] b) { b = Neg(x) }>",
        {"six": 6.0},
    )
    leave(FuseActivation, model, "lies outside of the branch")


def test_operators_of_other_domains_are_left_alone():
    model = graph(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y)",
        "z = Conv(x, w) y = Mul(z, s)",
        {"w": normal(4, 4, 1, 1), "s": 2.0},
    )
    model.graph.node(1).domain = "com.example"
    assert FuseConvBatchNorm()(model).applied == 0


def test_weights_that_nothing_reads_any_more_are_dropped():
    model = graph(
        "(float[N,4,8,8] x) => (float[N,4,8,8] y)",
        "z = Conv(x, w) y = Mul(z, s)",
        {"w": normal(4, 4, 1, 1), "s": 2.0},
    )
    fuse(FuseConvBatchNorm, model)
    assert list(model.graph.initializers) == ["w_folded"]


def test_metadata_of_the_nodes_is_kept():
    model = graph("(float[3] x) => (float[3] y)", "a = Relu(x) y = Relu(a)")
    model.graph.node(1).metadata_props["source"] = "model.py:7"
    fuse(FuseActivation, model)
    assert model.graph.node(0).metadata_props == {"source": "model.py:7"}


class Doubled(FusionPass):
    """x + x to 2 x, as a third party would write it: by match alone."""

    name = "example.doubled"
    summary = "Multiply instead of adding."
    candidates = frozenset({"Add"})

    def match(self, node: ir.Node) -> Fusion | None:
        x = node.inputs[0]
        if node.inputs[1] is not x:
            return None
        if x.dtype != ir.DataType.FLOAT:
            raise Unfit("not float32")

        def build(builder: Builder) -> ir.Value:
            two = builder.initializer("two", normal(1) * 0 + 2)
            return builder.node("Mul", [x, two])

        return Fusion(node, {node}, build)


def test_a_pass_needs_no_more_than_a_match():
    model = graph("(float[3] x) => (float[3] y)", "[twice] y = Add(x, x)")
    fuse(Doubled, model)
    assert operators(model) == ["Mul"]
    assert model.graph.node(0).name == "twice/Mul"


def test_reasons_name_the_node():
    model = graph("(int32[3] x) => (int32[3] y)", "[twice] y = Add(x, x)")
    leave(Doubled, model, "not float32")


def test_taken_names_get_a_number():
    names = Names(graph("(float[3] x) => (float[3] y)", "[relu] y = Relu(x)", {"w": 1.0}))
    assert [names.fresh(n) for n in ("relu", "x", "w", "new", "new")] == [
        "relu_2",
        "x_2",
        "w_2",
        "new",
        "new_2",
    ]
    names.free("relu")
    assert names.fresh("relu") == "relu"
