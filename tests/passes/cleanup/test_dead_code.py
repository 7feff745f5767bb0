"""What no output depends on goes, also what only dead control flow reads; the interface stays."""

import numpy as np
import pytest

from ingot.compiler.inputs import random_inputs
from ingot.passes.cleanup.dead_code import DeadCode
from ingot.passes.invariants import check_graph
from tests.graphs import assert_bit_equal, nodes, outputs_of, parse, special_inputs


def model_of(body, *, inputs="float[N, 4] x", output="float[N, 4] y", weights=""):
    initializers = f"<{weights}>" if weights else ""
    return parse(
        f'<ir_version: 10, opset_import: ["":21]> '
        f"g ({inputs}) => ({output}) {initializers} {{ {body} }}"
    )


def run(model):
    inputs = special_inputs(model)
    before = outputs_of(model, inputs)
    outcome = DeadCode()(model)
    check_graph(model)
    assert_bit_equal(before, outputs_of(model, inputs))
    return outcome


def test_nodes_and_the_weights_that_only_they_read():
    model = model_of(
        "a = Mul(x, w) b = Add(a, v) y = Add(x, v)", weights="float w = {1}, float v = {2}"
    )
    assert run(model).applied == 3
    assert nodes(model) == ["Add"]
    assert list(model.graph.initializers) == ["v"]


def test_nothing_dead():
    model = model_of("a = Exp(x) b = Neg(a) y = Add(a, b)")
    assert not run(model).modified
    assert nodes(model) == ["Exp", "Neg", "Add"]


def test_inputs_and_their_defaults_stay():
    model = model_of("y = Exp(x)", inputs="float[N, 4] x, float[3] unread", weights="float w = {1}")
    model.graph.inputs.append(model.graph.initializers["w"])
    DeadCode()(model)
    assert [value.name for value in model.graph.inputs] == ["x", "unread", "w"]
    assert list(model.graph.initializers) == ["w"]


def test_weight_that_is_an_output_stays():
    model = model_of("y = Exp(x)", output="float[N, 4] y, float w", weights="float w = {1}")
    assert not run(model).modified


def test_what_only_dead_control_flow_reads():
    model = model_of(
        """a = Exp(x) y = Neg(x)
        d = If(c) <
          then_branch = t () => (float[N, 4] p) {
            p = If(c) <then_branch = t2 () => (float[N, 4] q) { q = Mul(a, w) },
                       else_branch = e2 () => (float[N, 4] r) { r = Abs(a) }> },
          else_branch = e () => (float[N, 4] s) { s = Abs(a) }>""",
        inputs="float[N, 4] x, bool c",
        weights="float w = {1}",
    )
    run(model)
    assert nodes(model) == ["Neg"]
    assert not model.graph.initializers


def test_what_live_control_flow_captures_stays_and_its_dead_nodes_go():
    model = model_of(
        """a = Exp(x) b = Sqrt(x)
        y = If(c) <
          then_branch = t () => (float[N, 4] p) { p = Neg(a) u = Abs(b) },
          else_branch = e () => (float[N, 4] s) { s = Abs(a) }>""",
        inputs="float[N, 4] x, bool c",
    )
    for taken in (True, False):
        inputs = {**special_inputs(model), "c": np.array(taken)}
        before = outputs_of(model, inputs)
        copy = model.clone()
        DeadCode()(copy)
        assert_bit_equal(before, outputs_of(copy, inputs))
    assert nodes(copy) == ["Exp", "If", "Neg", "Abs"]


def test_optional_outputs_that_nothing_reads():
    model = model_of(
        "a, mask = Dropout(x) b, index = MaxPool<kernel_shape = [1]>(a) y = Neg(b)",
        inputs="float[1, 3, 4] x",
        output="float[1, 3, 4] y",
    )
    # Without the indices, ONNX Runtime takes another kernel, which treats NaN otherwise.
    inputs = random_inputs(model)
    before = outputs_of(model, inputs)
    assert DeadCode()(model).applied == 2
    assert_bit_equal(before, outputs_of(model, inputs))
    assert [len(node.outputs) for node in model.graph] == [1, 1, 1]
    assert not DeadCode()(model).modified


def test_functions_that_nothing_calls():
    model = parse("""<ir_version: 10, opset_import: ["":21, "acme":1]>
        g (float[N] x) => (float[N] y) { y = acme.f(x) }
        <domain: "acme", opset_import: ["":21]> f (a) => (c) { b = Abs(a) c = Neg(a) }
        <domain: "acme", opset_import: ["":21]> unused (a) => (c) { c = Neg(a) }""")
    assert run(model).applied == 2
    assert [name for _, name, _ in model.functions] == ["f"]
    assert [node.op_type for node in model.functions["acme", "f", ""]] == ["Neg"]


@pytest.mark.parametrize("count", [2000])
def test_long_chains_need_no_recursion(count):
    body = "a0 = Exp(x) " + " ".join(f"a{i} = Neg(a{i - 1})" for i in range(1, count))
    model = model_of(f"{body} y = Abs(a{count - 1}) z = Sqrt(a{count - 1})")
    assert run(model).applied == 1
