"""What a pass changed is read off the graphs, whatever the pass says."""

import numpy as np
import onnx_ir as ir

from ingot.passes.difference import GraphState, compare_graphs, initializer_bytes, same_tensor
from tests.graphs import parse

MODEL = """<ir_version: 10, opset_import: ["":21]>
g (float[2] x, bool c) => (float[2] y) <float[2] w = {1, 2}> {
 [mul] a = Mul(x, w)
 [leaky] b = LeakyRelu<alpha: float = 0.1>(a)
 [if] y = If(c) <then_branch = t () => (float[2] p) { [neg] p = Neg(b) },
                 else_branch = e () => (float[2] q) { [abs] q = Abs(b) }>
}"""


def difference(change):
    model = parse(MODEL)
    before = GraphState.capture(model)
    change(model, {node.name: node for node in model.graph.all_nodes()})
    return compare_graphs(before, GraphState.capture(model))


def test_nothing():
    found = difference(lambda model, nodes: None)
    assert not found
    assert (found.removed, found.added, found.changed, found.op_delta) == ([], [], [], {})


def test_clone_is_no_difference():
    model = parse(MODEL)
    assert not compare_graphs(GraphState.capture(model), GraphState.capture(model.clone()))


def test_removed_and_added_by_name_and_operators_by_count():
    def replace(model, nodes):
        old = nodes["leaky"]
        new = ir.node("Relu", [old.inputs[0]], name="relu")
        new.outputs[0].name = "b"
        model.graph.insert_before(old, new)
        old.outputs[0].replace_all_uses_with(new.outputs[0])
        model.graph.remove(old)

    found = difference(replace)
    assert (found.removed, found.added) == (["leaky"], ["relu"])
    assert found.op_delta == {"LeakyRelu": -1, "Relu": 1}
    assert found.changed == []


def test_changed_attribute():
    found = difference(
        lambda model, nodes: nodes["leaky"].attributes.add(ir.AttrFloat32("alpha", 0.2))
    )
    assert found.changed == ["leaky"]


def test_changed_operator_in_a_subgraph():
    def change(model, nodes):
        nodes["neg"].op_type = "Exp"

    found = difference(change)
    assert found.changed == ["neg"]
    assert found.op_delta == {"Exp": 1, "Neg": -1}


def test_changed_weight_changes_the_node_that_reads_it():
    def change(model, nodes):
        weight = model.graph.initializers["w"]
        weight.const_value = ir.tensor(np.array([1, 3], np.float32), name="w")

    assert difference(change).changed == ["mul"]


def test_equal_weight_in_another_tensor_is_no_change():
    def change(model, nodes):
        weight = model.graph.initializers["w"]
        weight.const_value = ir.tensor(np.array([1, 2], np.float32), name="w")

    assert not difference(change)


def test_renamed_output_is_a_change_of_the_interface():
    def change(model, nodes):
        model.graph.outputs[0].name = "z"

    found = difference(change)
    assert found.interface_changed
    assert found.changed == ["if"]


def test_nodes_without_names_or_of_equal_names_are_told_apart():
    model = parse(MODEL)
    for node in model.graph:
        node.name = None
    names = list(GraphState.capture(model).nodes)
    assert names == ["Mul(a)", "LeakyRelu(b)", "If(y)", "neg", "abs"]
    for node in model.graph:
        node.name = "same"
    assert list(GraphState.capture(model).nodes)[:3] == ["same", "same#2", "same#3"]


def test_initializer_bytes():
    assert initializer_bytes(parse(MODEL)) == 8


def test_same_tensor_compares_type_shape_and_bits():
    tensor = ir.tensor(np.array([0.0, np.nan], np.float32))
    assert same_tensor(tensor, ir.tensor(np.array([0.0, np.nan], np.float32)))
    assert not same_tensor(tensor, ir.tensor(np.array([-0.0, np.nan], np.float32)))
    assert not same_tensor(tensor, ir.tensor(np.array([[0.0, np.nan]], np.float32)))
    assert not same_tensor(ir.tensor(np.int32([1])), ir.tensor(np.float32([1.4e-45])))
    assert not same_tensor(tensor, None)
    assert same_tensor(ir.tensor(["a", "b"]), ir.tensor(["a", "b"]))
    assert not same_tensor(ir.tensor(["a", "b"]), ir.tensor(["a", "c"]))
