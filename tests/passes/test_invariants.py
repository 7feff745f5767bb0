"""What every graph must hold to, each with the message that says where it does not."""

import onnx_ir as ir
import pytest

from ingot.errors import ModelError
from ingot.passes.invariants import Interface, check_graph, check_operators
from tests.graphs import parse

MODEL = """<ir_version: 10, opset_import: ["":21]>
g (float[N, 2] x, bool c) => (float[N, 2] y) <float[2] w = {1, 2}> {
 [mul] a = Mul(x, w)
 [relu] b = Relu(a)
 [if] y = If(c) <then_branch = t () => (float[N, 2] p) { [neg] p = Neg(b) },
                 else_branch = e () => (float[N, 2] q) { [abs] q = Abs(b) }>
}"""


@pytest.fixture
def model():
    return parse(MODEL)


@pytest.fixture
def nodes(model):
    return {node.name: node for node in model.graph.all_nodes()}


def test_valid_graph_passes(model):
    check_graph(model)
    check_operators(model)


def test_value_that_nothing_defines(model, nodes):
    nodes["relu"].replace_input_with(0, ir.Value(name="ghost"))
    with pytest.raises(
        ModelError, match=r"node 'relu' \(Relu\) reads 'ghost', which nothing before it defines"
    ):
        check_graph(model)


def test_use_before_definition(model, nodes):
    model.graph.remove(nodes["mul"])
    model.graph.append(nodes["mul"])
    with pytest.raises(ModelError, match=r"node 'relu' .* reads 'a'"):
        check_graph(model)


def test_value_of_another_branch(model, nodes):
    nodes["abs"].replace_input_with(0, nodes["neg"].outputs[0])
    with pytest.raises(ModelError, match=r"node 'abs' .* reads 'p'"):
        check_graph(model)


def test_subgraph_that_returns_an_outer_value(model, nodes):
    branch = nodes["if"].attributes["then_branch"].as_graph()
    branch.outputs[0] = nodes["relu"].outputs[0]
    with pytest.raises(ModelError, match="output 'b' of graph 't' is not defined in it"):
        check_graph(model)


def test_initializer_without_data(model):
    model.graph.initializers["w"].const_value = None
    with pytest.raises(ModelError, match="initializer 'w' has no data"):
        check_graph(model)


def test_name_taken_twice(model, nodes):
    nodes["relu"].outputs[0].name = "a"
    with pytest.raises(ModelError, match="defines 'a', a name that is already taken"):
        check_graph(model)


def test_operator_that_onnx_does_not_know(model, nodes):
    nodes["relu"].op_type = "Rellu"
    with pytest.raises(ModelError, match=r"onnx's checker refuses the graph: .*Rellu") as caught:
        check_operators(model)
    assert "\n" not in str(caught.value)


def test_attribute_that_the_operator_lacks(model, nodes):
    nodes["relu"].attributes.add(ir.AttrFloat32("alpha", 1.0))
    with pytest.raises(ModelError, match="alpha"):
        check_operators(model)


def test_operators_of_other_domains_are_not_judged(model, nodes):
    nodes["relu"].domain = "com.acme"
    model.graph.opset_imports["com.acme"] = 1
    check_operators(model)


def test_checking_operators_leaves_the_model_alone(model):
    before = ir.to_proto(model).SerializeToString()
    check_operators(model)
    assert ir.to_proto(model).SerializeToString() == before


class TestInterface:
    def test_kept(self, model):
        Interface.of(model).check_kept(model)

    def test_name(self, model):
        interface = Interface.of(model)
        model.graph.outputs[0].name = "z"
        with pytest.raises(ModelError, match="the graph's outputs were 'y' and have become 'z'"):
            interface.check_kept(model)

    def test_removed_input(self, model):
        interface = Interface.of(model)
        del model.graph.inputs[1]
        with pytest.raises(ModelError, match="inputs were 'x', 'c' and have become 'x'"):
            interface.check_kept(model)

    def test_dtype(self, model):
        interface = Interface.of(model)
        model.graph.outputs[0].dtype = ir.DataType.FLOAT16
        with pytest.raises(ModelError, match="output 'y' had dtype FLOAT and has become FLOAT16"):
            interface.check_kept(model)

    @pytest.mark.parametrize("shape", [[1, 2], ["M", 2], [None, 2], ["N"], ["N", 2, 1]])
    def test_shape(self, model, shape):
        interface = Interface.of(model)
        model.graph.outputs[0].shape = ir.Shape(shape)
        with pytest.raises(ModelError, match=r"output 'y' had shape \[N, 2\] and has become \["):
            interface.check_kept(model)

    def test_unknown_shape_may_become_known(self, model):
        model.graph.outputs[0].shape = ir.Shape([None, 2])
        interface = Interface.of(model)
        model.graph.outputs[0].shape = ir.Shape(["N", 2])
        interface.check_kept(model)
