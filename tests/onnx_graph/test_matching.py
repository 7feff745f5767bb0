import numpy as np
import onnx_ir as ir
import pytest

from ingot.onnx_graph.matching import (
    Unfit,
    affine,
    close,
    constant,
    polynomial,
    product,
    require_dtype,
    scalar,
)
from tests.passes.fusion.harness import graph, normal

SIGNATURE = "(float[N] x) => (float[N] y)"
NUMBERS = {"two": 2.0, "three": 3.0, "half": 0.5, "zero": 0.0}


def value(body, name="y", signature=SIGNATURE):
    model = graph(signature, body, NUMBERS)
    found = {v.name: v for node in model.graph for v in node.outputs}
    found |= {v.name: v for v in model.graph.inputs}
    return found[name], found["x"]


@pytest.mark.parametrize(
    ("body", "scale", "offset"),
    [
        ("y = Add(x, three)", 1, 3),
        ("y = Sub(three, x)", -1, 3),
        ("y = Sub(x, three)", 1, -3),
        ("y = Div(x, two)", 0.5, 0),
        ("y = Neg(x)", -1, 0),
        ("a = Mul(x, two) y = Add(a, three)", 2, 3),
        ("a = Add(x, three) y = Mul(two, a)", 2, 6),
        ("a = Sub(three, x) b = Div(a, two) y = Add(b, half)", -0.5, 2),
    ],
)
def test_affine(body, scale, offset):
    y, x = value(body)
    found = affine(y, through_root=True)
    assert (found.base, found.scale, found.offset) == (x, scale, offset)


@pytest.mark.parametrize("body", ["y = Div(two, x)", "y = Div(x, zero)", "y = Mul(x, x)"])
def test_affine_stops_at_what_is_not(body):
    y, _ = value(body)
    assert affine(y, through_root=True).base is y


def test_affine_stops_at_what_something_else_reads():
    y, _ = value("a = Mul(x, two) b = Add(a, three) y = Mul(b, a)", "b")
    assert affine(y).base.name == "a"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("y = Mul(x, two)", {1: 2.0}),
        ("a = Mul(x, x) y = Add(a, x)", {2: 1.0, 1: 1.0}),
        ("y = Pow(x, three)", {3: 1.0}),
        ("a = Add(x, two) y = Pow(a, two)", {2: 1.0, 1: 4.0, 0: 4.0}),
        ("a = Mul(x, x) b = Mul(a, x) c = Sub(three, b) y = Div(c, two)", {0: 1.5, 3: -0.5}),
    ],
)
def test_polynomial(body, expected):
    y, x = value(body)
    found = polynomial(y, x)
    assert found is not None
    assert found.equals(expected), found.coefficients


@pytest.mark.parametrize(
    "body",
    [
        "y = Exp(x)",
        "y = Pow(x, half)",
        "y = Div(two, x)",
        "a = Pow(x, three) y = Mul(a, x)",
        "z = Exp(x) y = Add(x, z)",
    ],
)
def test_no_polynomial_of_degree_three(body):
    y, x = value(body)
    assert polynomial(y, x) is None


@pytest.mark.parametrize(
    "body",
    [
        "a = Mul(x, z) b = Mul(a, two) y = Div(b, half)",
        "b = Mul(two, x) a = Mul(z, b) y = Div(a, half)",
        "b = Neg(x) c = Neg(z) d = Div(c, half) e = Mul(d, two) y = Mul(e, b)",
    ],
)
def test_product_is_flat(body):
    y, x = value(f"z = Exp(x) {body}")
    found = product(y.producer())
    assert found.coefficient == 4.0
    assert {factor.name for factor in found.factors} == {"x", "z"}
    assert x in found.factors


@pytest.mark.parametrize(
    ("actual", "expected", "is_close"),
    [(1.4142, 2**0.5, True), (1.702, 1.702, True), (1.70, 1.702, False), (0.0447, 0.044715, False)],
)
def test_constants_are_compared_as_exporters_write_them(actual, expected, is_close):
    assert close(actual, expected) is is_close


def test_an_initializer_that_a_caller_may_override_is_no_constant():
    model = graph("(float[3] x, float[3] w) => (float[3] y)", "y = Mul(x, w)", {"w": normal(3)})
    assert constant(model.graph.node(0).inputs[1]) is None


def test_a_constant_node_is_a_constant():
    model = graph(SIGNATURE, "c = Constant<value_float=2.5>() y = Mul(x, c)")
    assert scalar(model.graph.node(-1).inputs[1]) == 2.5


def test_only_single_numbers_are_scalars():
    weights = {"row": normal(3), "flag": np.array(True)}
    model = graph("(float[3] x) => (float[3] y)", "y = Mul(x, row) z = Not(flag)", weights)
    assert scalar(model.graph.node(0).inputs[1]) is None
    assert scalar(model.graph.node(1).inputs[0]) is None


def test_an_unknown_dtype_ends_the_match():
    with pytest.raises(Unfit, match="element type of 'v' is unknown"):
        require_dtype(ir.Value(name="v"), {ir.DataType.FLOAT})
