"""Equal operators on the same inputs are computed once, and nothing that may differ is merged."""

import numpy as np
import pytest

from ingot.passes.cleanup.common_subexpressions import CommonSubexpressions
from ingot.passes.invariants import check_graph
from tests.graphs import assert_bit_equal, nodes, outputs_of, parse, special_inputs


def model_of(body, *, inputs="float[N, 4] x", output="float[N, 4] y", weights="", opset=21):
    initializers = f"<{weights}>" if weights else ""
    return parse(
        f'<ir_version: 10, opset_import: ["":{opset}]> '
        f"g ({inputs}) => ({output}) {initializers} {{ {body} }}"
    )


def run(model):
    inputs = special_inputs(model)
    before = outputs_of(model, inputs)
    outcome = CommonSubexpressions()(model)
    check_graph(model)
    assert_bit_equal(before, outputs_of(model, inputs))
    return outcome


@pytest.mark.parametrize(
    ("body", "left"),
    [
        ("a = Exp(x) b = Exp(x) y = Add(a, b)", ["Exp", "Add"]),
        ("a = Exp(x) b = Exp(x) c = Neg(a) d = Neg(b) y = Add(c, d)", ["Exp", "Neg", "Add"]),
        (
            "a = LeakyRelu<alpha = 0.5>(x) b = LeakyRelu<alpha = 0.5>(x) y = Add(a, b)",
            ["LeakyRelu", "Add"],
        ),
        (
            "k = Constant<value = float[1] {2}>() l = Constant<value = float[1] {2}>() "
            "a = Mul(x, k) b = Mul(x, l) y = Add(a, b)",
            ["Constant", "Mul", "Add"],
        ),
        ("a = Clip(x, , w) b = Clip(x, , w) y = Add(a, b)", ["Clip", "Add"]),
        ("a = Dropout(x) b = Dropout(x) y = Add(a, b)", ["Dropout", "Add"]),
    ],
    ids=["twins", "chains", "attributes", "constants", "left-out inputs", "dropout in inference"],
)
def test_merged(body, left):
    model = model_of(body, weights="float w = {1}")
    assert run(model).modified
    assert nodes(model) == left


@pytest.mark.parametrize(
    "body",
    [
        "a = Exp(x) b = Neg(x) y = Add(a, b)",
        "a = LeakyRelu<alpha = 0.5>(x) b = LeakyRelu<alpha = 0.25>(x) y = Add(a, b)",
        "a = LeakyRelu<alpha = 0.0>(x) b = LeakyRelu<alpha = -0.0>(x) y = Div(a, b)",
        "a = Sub(x, w) b = Sub(w, x) y = Add(a, b)",
        "a = Clip(x, w) b = Clip(x, , w) y = Add(a, b)",
        "k = Constant<value = float[1] {0}>() l = Constant<value = float[1] {-0.0}>() "
        "a = Mul(x, k) b = Mul(x, l) y = Div(a, b)",
        "k = Constant<value = float[1] {2}>() l = Constant<value = float {2}>() "
        "a = Mul(x, k) b = Mul(x, l) y = Add(a, b)",
        "a, b = Split<axis = 1, num_outputs = 2>(x) "
        "c, d, e, f = Split<axis = 1, num_outputs = 4>(x) y = Concat<axis = 1>(a, c, f)",
    ],
    ids=[
        "operators",
        "attributes",
        "sign of a zero attribute",
        "order of inputs",
        "place of an input",
        "sign of a zero constant",
        "shape of a constant",
        "number of outputs",
    ],
)
def test_different_nodes_stay(body):
    model = model_of(body, weights="float w = {1}")
    assert not run(model).modified


@pytest.mark.parametrize(
    "operator",
    [
        "RandomNormal<shape = [4]>()",
        "RandomUniform<shape = [4], seed = 3.0>()",
        "RandomNormalLike(x)",
        "RandomUniformLike(x)",
        "Bernoulli(p)",
        "Dropout(x, half, yes)",
    ],
)
def test_random_operators_stay(operator):
    model = model_of(
        f"p = Sigmoid(x) half = Constant<value = float {{0.5}}>() "
        f"yes = Constant<value = bool {{1}}>() a = {operator} b = {operator} y = Add(a, b)"
    )
    assert not CommonSubexpressions()(model).modified


def test_dropout_of_an_operator_set_where_it_trains_by_default_stays():
    model = model_of("a = Dropout(x) b = Dropout(x) y = Add(a, b)", opset=6)
    assert not CommonSubexpressions()(model).modified


def test_operators_of_other_domains_stay():
    model = model_of("a = Exp(x) b = Exp(x) y = Add(a, b)")
    for node in model.graph:
        node.domain = "com.acme"
    assert not CommonSubexpressions()(model).modified


class TestOutputs:
    def test_duplicate_that_is_an_output_gives_its_name_to_the_first(self):
        model = model_of(
            "a = Exp(x) b = Neg(a) y = Exp(x) z = Add(a, b)", output="float[N, 4] y, float[N, 4] z"
        )
        run(model)
        assert nodes(model) == ["Exp", "Neg", "Add"]
        assert [value.name for value in model.graph.outputs] == ["y", "z"]

    def test_two_equal_outputs_stay_two(self):
        model = model_of("y = Exp(x) z = Exp(x)", output="float[N, 4] y, float[N, 4] z")
        assert not run(model).modified

    def test_output_that_the_first_node_leaves_out_is_not_taken_from_it(self):
        model = model_of(
            "a = MaxPool<kernel_shape = [2]>(x) b, i = MaxPool<kernel_shape = [2]>(x) "
            "f = Cast<to = 1>(i) t = Add(a, b) y = Add(t, f)",
            inputs="float[1, 2, 4] x",
            output="float[1, 2, 3] y",
        )
        assert not run(model).modified


class TestSubgraphs:
    TEXT = """a = Exp(x)
        y = If(c) <
          then_branch = t () => (float[N, 4] p) { b = Exp(x) d = Neg(b) e = Neg(b) p = Add(d, e) },
          else_branch = f () => (float[N, 4] q) { q = Exp(x) }
        >"""

    def test_within_a_branch_and_with_what_ran_before_it(self):
        model = model_of(self.TEXT, inputs="float[N, 4] x, bool c")
        for taken in (True, False):
            inputs = {**special_inputs(model), "c": np.array(taken)}
            before = outputs_of(model, inputs)
            copy = model.clone()
            CommonSubexpressions()(copy)
            check_graph(copy)
            assert_bit_equal(before, outputs_of(copy, inputs))
        # The branch's own result has to be computed in it.
        assert nodes(copy) == ["Exp", "If", "Neg", "Add", "Exp"]

    def test_branches_do_not_share_with_each_other_nor_with_what_follows(self):
        model = model_of(
            """r = If(c) <
              then_branch = t () => (float[N, 4] p) { b = Exp(x) p = Neg(b) },
              else_branch = f () => (float[N, 4] q) { d = Exp(x) q = Abs(d) }
            > e = Exp(x) y = Add(r, e)""",
            inputs="float[N, 4] x, bool c",
        )
        assert not run(model).modified

    def test_equal_control_flow_stays(self):
        branch = """If(c) <then_branch = t{0} () => (float[N, 4] p{0}) {{ p{0} = Neg(x) }},
                           else_branch = f{0} () => (float[N, 4] q{0}) {{ q{0} = Abs(x) }}>"""
        model = model_of(
            f"a = {branch.format(1)} b = {branch.format(2)} y = Add(a, b)",
            inputs="float[N, 4] x, bool c",
        )
        assert not run(model).modified
