"""What compiled code cannot take becomes few, convex regions."""

from __future__ import annotations

import networkx as nx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingot.targets.partition import find_regions, read_values
from ingot.targets.relax.types import is_foreign
from tests.graphs import parse

_LARGE = "float[1000, 1000]"


def _named(model: ir.Model) -> ir.Model:
    """The model with each node named for its output, and floats where a type is unknown."""
    for node in model.graph:
        node.name = str(node.outputs[0].name)
        if node.outputs[0].type is None:
            node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    return model


def _regions(text: str, *refused: str) -> list[tuple[list[str], list[str], list[str]]]:
    model = _named(parse(text))
    found = find_regions(model.graph, refused, is_foreign)
    return [
        (
            [str(node.name) for node in region.nodes],
            [str(value.name) for value in region.inputs],
            [str(value.name) for value in region.outputs],
        )
        for region in found
    ]


def _model(body: str, result: str = "y") -> str:
    return f"""<ir_version: 8, opset_import: ["": 17]>
    agraph ({_LARGE} x) => ({_LARGE} {result}) {{ {body} }}"""


def test_neighbours_share_a_region() -> None:
    body = "a = MatMul(x, x) b = Det(a) c = Neg(b) y = MatMul(x, c)"
    assert _regions(_model(body), "b", "c") == [(["b", "c"], ["a"], ["c"])]


def test_a_compiled_node_on_the_way_divides() -> None:
    body = "b = Foo(x) m = MatMul(b, x) y = Bar(m)"
    assert _regions(_model(body), "b", "y") == [
        (["b"], ["x"], ["b"]),
        (["y"], ["m"], ["y"]),
    ]


def test_small_work_between_regions_goes_with_them() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    agraph (float[10] x) => (float[10] y) { b = Foo(x) m = Neg(b) y = Bar(m) }"""
    model = _named(parse(text))
    (middle,) = (node.outputs[0] for node in model.graph if node.op_type == "Neg")
    middle.shape = ir.Shape([10])
    (region,) = find_regions(model.graph, {"b", "y"}, is_foreign)
    assert [node.name for node in region.nodes] == ["b", "m", "y"]


def test_independent_nodes_share_a_region() -> None:
    body = "a = Foo(x) b = Bar(x) c = MatMul(a, b) y = MatMul(c, c)"
    assert _regions(_model(body), "a", "b") == [(["a", "b"], ["x"], ["a", "b"])]


def test_a_sequence_does_not_leave_its_region() -> None:
    text = f"""<ir_version: 8, opset_import: ["": 17]>
    agraph ({_LARGE} x) => ({_LARGE} y) {{
        s = SequenceConstruct(x)
        i = SequenceLength(s)
        f = Cast<to = 1>(i)
        m = MatMul(x, x)
        g = Mul(m, f)
        h = ReduceMax<keepdims = 0>(g)
        k = Cast<to = 7>(h)
        y = SequenceAt(s, k)
    }}"""
    sequence = ("s", "i", "y")
    (region, *others) = _regions(text, *sequence)
    assert not others
    assert set(region[0]) >= {*sequence, "g", "h", "k"}
    assert region[1] == ["x", "m"]


def test_what_a_branch_captures_is_read() -> None:
    text = """<ir_version: 8, opset_import: ["": 17]>
    agraph (float[1000, 1000] x, bool c) => (float[1000, 1000] y) {
        a = MatMul(x, x)
        y = If(c) <
            then_branch = yes () => (float[1000, 1000] r) { r = Neg(a) },
            else_branch = no () => (float[1000, 1000] r) { r = Identity(x) }
        >
    }"""
    model = _named(parse(text))
    branch = model.graph[-1]
    assert {value.name for value in read_values(branch)} == {"a", "x", "c"}
    (region,) = find_regions(model.graph, {"y"}, is_foreign)
    assert {value.name for value in region.inputs} == {"a", "x", "c"}


@st.composite
def _graphs(draw: st.DrawFn) -> tuple[ir.Model, set[str]]:
    """A random graph, and the names of the nodes that are refused."""
    values = ["x"]
    lines = []
    refused = set()
    for index in range(draw(st.integers(1, 12))):
        left, right = draw(st.sampled_from(values)), draw(st.sampled_from(values))
        lines.append(f"v{index} = MatMul({left}, {right})")
        values.append(f"v{index}")
        if draw(st.booleans()):
            refused.add(f"v{index}")
    return _named(parse(_model(" ".join(lines), values[-1]))), refused


@given(_graphs())
def test_regions_hold_what_is_refused_and_can_run_one_after_the_other(
    drawn: tuple[ir.Model, set[str]],
) -> None:
    model, refused = drawn
    regions = find_regions(model.graph, refused, is_foreign)
    assert {node.name for region in regions for node in region.nodes} == refused
    part = {node: region.name for region in regions for node in region.nodes}
    flow = nx.DiGraph()
    for node in model.graph:
        for value in node.inputs:
            maker = None if value is None else value.producer()
            if maker is not None:
                flow.add_edge(part.get(maker, maker.name), part.get(node, node.name))
    flow.remove_edges_from(list(nx.selfloop_edges(flow)))
    assert nx.is_directed_acyclic_graph(flow)


@pytest.mark.parametrize("refused", [set(), {"absent"}])
def test_nothing_refused_is_no_region(refused: set[str]) -> None:
    model = _named(parse(_model("y = Neg(x)")))
    assert find_regions(model.graph, refused, is_foreign) == []
