import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingot.passes.fusion import FuseActivation
from tests.passes.fusion.harness import attribute, fuse, graph, leave, operators

SIGNATURE = "(float[N,3,7] x) => (float[N,3,7] y)"
NUMBERS = {
    "zero": 0.0,
    "one": 1.0,
    "half": 0.5,
    "three": 3.0,
    "six": 6.0,
    "sixth": 1 / 6,
    "low": -1.5,
    "alpha": 1.702,
    "slope": 0.2,
    "two": 2.0,
    "row": np.full((1, 1, 1), 6, np.float32),
}


def activation(body, signature=SIGNATURE, opset=23):
    return graph(signature, body, NUMBERS, opset=opset)


INPUTS = {"x": np.linspace(-8, 8, 42, dtype=np.float32).reshape(2, 3, 7)}


def fuse_to(operator, model):
    fuse(FuseActivation, model, inputs=INPUTS)
    assert operators(model) == [operator]


@pytest.mark.parametrize(
    ("body", "low", "high"),
    [
        ("a = Max(x, low) y = Min(a, six)", -1.5, 6.0),
        ("a = Min(six, x) y = Max(zero, a)", 0.0, 6.0),
        ("a = Relu(x) y = Clip(a, zero, six)", 0.0, 6.0),
        ("a = Relu(x) y = Min(a, row)", 0.0, 6.0),
        ("a = Clip(x, low, six) y = Relu(a)", 0.0, 6.0),
        ("a = Clip(x, low, six) y = Clip(a, zero, three)", 0.0, 3.0),
        ("a = Clip(x, zero, three) y = Clip(a, low, six)", 0.0, 3.0),
        ("a = Clip(x, three, six) y = Clip(a, low, half)", 0.5, 0.5),
        ("y = Max(x, low)", -1.5, None),
        ("y = Min(x, six)", None, 6.0),
    ],
)
def test_limits_become_one_clip(body, low, high):
    model = activation(body)
    fuse_to("Clip", model)
    limits = [*model.graph.node(-1).inputs[1:], None][:2]
    found = [None if v is None else float(v.const_value.numpy()) for v in limits]
    assert found == [low, high]


@pytest.mark.parametrize(
    "body",
    [
        "a = Relu(x) y = Relu(a)",
        "y = Max(zero, x)",
        "y = Clip(x, zero)",
        "a = Max(x, low) y = Relu(a)",
        "a = Relu(x) b = Max(a, low) y = Clip(b, zero)",
    ],
)
def test_limits_become_one_relu(body):
    fuse_to("Relu", activation(body))


def test_limits_of_half_precision_are_exact():
    model = graph(
        "(float16[N,3,7] x) => (float16[N,3,7] y)",
        "a = Relu(x) y = Min(a, six)",
        {"six": np.float16(6)},
    )
    fuse(FuseActivation, model)
    assert operators(model) == ["Clip"]


@pytest.mark.parametrize(
    ("body", "alpha", "beta"),
    [
        ("a = Add(x, three) c = Clip(a, zero, six) y = Div(c, six)", 1 / 6, 0.5),
        ("a = Add(three, x) c = Clip(a, zero, six) y = Mul(sixth, c)", 1 / 6, 0.5),
        ("a = Mul(x, sixth) b = Add(a, half) y = Clip(b, zero, one)", 1 / 6, 0.5),
        ("a = Div(x, six) b = Add(a, half) c = Max(b, zero) y = Min(c, one)", 1 / 6, 0.5),
        ("a = Mul(x, slope) b = Add(a, half) y = Clip(b, zero, one)", 0.2, 0.5),
        ("a = Add(x, three) r = Relu(a) c = Min(r, six) y = Mul(c, sixth)", 1 / 6, 0.5),
        ("a = Sub(half, x) y = Clip(a, zero, one)", -1.0, 0.5),
    ],
)
def test_hard_sigmoid(body, alpha, beta):
    model = activation(body)
    fuse_to("HardSigmoid", model)
    assert attribute(model, "HardSigmoid", "alpha") == pytest.approx(alpha)
    assert attribute(model, "HardSigmoid", "beta") == pytest.approx(beta)


@pytest.mark.parametrize(
    "body",
    [
        "a = Add(x, three) c = Clip(a, zero, six) b = Mul(x, c) y = Div(b, six)",
        "a = Add(x, three) c = Clip(a, zero, six) b = Div(c, six) y = Mul(x, b)",
        "a = Add(three, x) c = Clip(a, zero, six) b = Mul(c, sixth) y = Mul(b, x)",
        "a = Add(x, three) c = Clip(a, zero, six) b = Mul(x, sixth) y = Mul(b, c)",
        "a = Add(x, three) r = Relu(a) c = Min(r, six) b = Mul(x, c) y = Mul(b, sixth)",
        "h = HardSigmoid<alpha=0.16666667, beta=0.5>(x) y = Mul(h, x)",
        "a = Mul(x, sixth) b = Add(a, half) c = Clip(b, zero, one) y = Mul(x, c)",
    ],
)
def test_hard_swish(body):
    fuse_to("HardSwish", activation(body))


@pytest.mark.parametrize(
    "body",
    [
        "n = Neg(x) e = Exp(n) a = Add(one, e) y = Div(one, a)",
        "n = Neg(x) e = Exp(n) a = Add(e, one) y = Reciprocal(a)",
    ],
)
def test_sigmoid(body):
    fuse_to("Sigmoid", activation(body))


@pytest.mark.parametrize("add", ["Add(one, e)", "Add(e, one)"])
def test_softplus(add):
    fuse_to("Softplus", activation(f"e = Exp(x) a = {add} y = Log(a)"))


@pytest.mark.parametrize("softplus", ["s = Softplus(x)", "e = Exp(x) a = Add(e, one) s = Log(a)"])
@pytest.mark.parametrize("product", ["Mul(x, t)", "Mul(t, x)"])
def test_mish(softplus, product):
    fuse_to("Mish", activation(f"{softplus} t = Tanh(s) y = {product}"))


@pytest.mark.parametrize("product", ["Mul(x, s)", "Mul(s, x)"])
@pytest.mark.parametrize(
    ("argument", "alpha"), [("", 1.0), ("a = Mul(x, alpha)", 1.702), ("a = Div(x, two)", 0.5)]
)
def test_swish_from_opset_24(product, argument, alpha):
    sigmoid = f"s = Sigmoid({'a' if argument else 'x'})"
    model = activation(f"{argument} {sigmoid} y = {product}", opset=24)
    outcome = FuseActivation()(model)
    assert (outcome.applied, operators(model)) == (1, ["Swish"])
    assert attribute(model, "Swish", "alpha") == pytest.approx(alpha)


def test_swish_computes_the_same():
    fuse_to("Swish", activation("s = Sigmoid(x) y = Mul(x, s)", opset=24))


@pytest.mark.parametrize("maximum", ["Max(x, a)", "Max(a, x)"])
def test_leaky_relu(maximum):
    model = activation(f"a = Mul(slope, x) y = {maximum}")
    fuse_to("LeakyRelu", model)
    assert attribute(model, "LeakyRelu", "alpha") == pytest.approx(0.2)


TWO = "(float[N,3,7] x) => (float[N,3,7] y, float[N,3,7] z)"
SWISH = "s = Sigmoid(x) y = Mul(x, s)"


@pytest.mark.parametrize(
    ("body", "signature", "opset", "reason"),
    [
        (SWISH, SIGNATURE, 23, "Swish needs opset 24, the model has 23"),
        ("s = Softplus(x) t = Tanh(s) y = Mul(x, t)", SIGNATURE, 17, "Mish needs opset 18"),
        (
            "h = HardSigmoid<alpha=0.16666667>(x) y = Mul(x, h)",
            SIGNATURE,
            13,
            "HardSwish needs opset 14",
        ),
        ("h = HardSigmoid(x) y = Mul(x, h)", SIGNATURE, 23, "slope 0.2 and offset 0.5"),
        ("a = Mul(x, two) y = Max(x, a)", SIGNATURE, 23, "slope is between 0 and 1"),
        ("e = Exp(x) a = Add(one, e) y = Log(a) z = Neg(a)", TWO, 23, "also read by"),
        ("e = Exp(x) z = Add(one, e) y = Log(z)", TWO, 23, "is an output of the graph"),
        (
            "s = Softplus(x) t = Tanh(s) y = Mul(x, t)",
            SIGNATURE.replace("float", "double"),
            23,
            "DOUBLE",
        ),
    ],
)
def test_leaves(body, signature, opset, reason):
    leave(FuseActivation, activation(body, signature, opset), reason)


def test_a_limit_that_something_else_reads_stays_and_the_next_one_stands_alone():
    model = activation("a = Relu(x) y = Min(a, six) z = Neg(a)", TWO)
    fuse(FuseActivation, model, inputs=INPUTS)
    assert sorted(operators(model)) == ["Clip", "Neg", "Relu"]


@pytest.mark.parametrize(
    ("body", "signature"),
    [
        ("y = Relu(x)", SIGNATURE),
        ("y = Clip(x, low, six)", SIGNATURE),
        ("y = Clip(x, zero, one)", SIGNATURE),
        ("y = Clip(x, six, low)", SIGNATURE),
        ("a = Sigmoid(x) b = Sigmoid(x) y = Mul(a, b)", SIGNATURE),
        ("n = Neg(x) e = Exp(n) a = Add(three, e) y = Div(one, a)", SIGNATURE),
        ("e = Exp(x) a = Add(one, e) y = Div(one, a)", SIGNATURE),
        ("y = Max(x, x2)", "(int64[3] x, int64 x2) => (int64[3] y)"),
        ("t = Tanh(x) y = Mul(x, t)", SIGNATURE),
    ],
)
def test_does_not_see_a_pattern_in(body, signature):
    leave(FuseActivation, activation(body, signature))


def test_a_constant_of_higher_rank_than_the_input_is_not_dropped():
    model = activation("y = Max(x, row)", "(float[5] x) => (float[1,1,5] y)")
    leave(FuseActivation, model, "more dimensions")


@hypothesis.settings(deadline=None, max_examples=60)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["Relu", "Clip", "Min", "Max"]),
            st.floats(-4, 4, width=32),
            st.floats(0, 4, width=32),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_any_chain_of_limits_keeps_its_values(steps):
    lines, weights, value = [], {}, "x"
    for i, (operator, low, width) in enumerate(steps):
        weights |= {f"l{i}": float(low), f"h{i}": float(low + width)}
        operands = {"Relu": "", "Clip": f", l{i}, h{i}"}.get(operator, f", l{i}")
        result = "y" if i == len(steps) - 1 else f"v{i}"
        lines.append(f"{result} = {operator}({value}{operands})")
        value = result
    model = graph(SIGNATURE, " ".join(lines), weights)
    if FuseActivation()(model.clone()).applied:
        fuse(FuseActivation, model, inputs=INPUTS)
    assert len(operators(model)) == 1
