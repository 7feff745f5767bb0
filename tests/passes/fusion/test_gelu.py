import itertools

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingot.passes.fusion import FuseGelu
from tests.passes.fusion.harness import attribute, fuse, graph, leave, operators

SIGNATURE = "(float[N,S,6] x) => (float[N,S,6] y)"
NUMBERS = {
    "half": 0.5,
    "one": 1.0,
    "two": 2.0,
    "three": 3.0,
    "root2": np.sqrt(np.float32(2)),
    "inverse_root2": np.float32(0.70710678),
    "rounded_root2": 1.4142,
    "k": 0.7978845608,
    "k2": 2 * 0.7978845608,
    "c": 0.044715,
    "kc": 0.044715 * 0.7978845608,
    "wrong": 1.45,
    "quick": 1.702,
    "row": np.full((1, 1, 1, 1), 0.5, np.float32),
}
INPUTS = {"x": np.linspace(-6, 6, 48, dtype=np.float32).reshape(2, 4, 6)}
ERF = "a = Div(x, root2) e = Erf(a) g = Add(e, one)"
CUBE = "p = Pow(x, three) q = Mul(c, p) s = Add(x, q) a = Mul(k, s)"
TANH = f"{CUBE} t = Tanh(a) g = Add(one, t)"


def gelu(body, signature=SIGNATURE, opset=23, **numbers):
    return graph(signature, body, {**NUMBERS, **numbers}, opset=opset)


def fuse_to_gelu(model, approximate):
    fuse(FuseGelu, model, inputs=INPUTS)
    assert operators(model) == ["Gelu"]
    assert attribute(model, "Gelu", "approximate") == approximate


def products():
    """Each order and grouping of x, 1/2 and the gate g."""
    for first, second, third in itertools.permutations(["x", "half", "g"]):
        yield f"m = Mul({first}, {second}) y = Mul(m, {third})"
        yield f"m = Mul({first}, {second}) y = Mul({third}, m)"
    yield "m = Mul(x, g) y = Div(m, two)"
    yield "m = Div(x, two) y = Mul(m, g)"


@pytest.mark.parametrize("gate", [ERF, TANH], ids=["erf", "tanh"])
@pytest.mark.parametrize("body", products())
def test_each_order_of_multiplication(gate, body):
    fuse_to_gelu(gelu(f"{gate} {body}"), "none" if gate is ERF else "tanh")


@pytest.mark.parametrize(
    "argument",
    ["Div(x, root2)", "Mul(x, inverse_root2)", "Mul(inverse_root2, x)", "Div(x, rounded_root2)"],
)
def test_arguments_of_erf(argument):
    model = gelu(f"a = {argument} e = Erf(a) g = Add(one, e) m = Mul(x, g) y = Mul(m, half)")
    fuse_to_gelu(model, "none")


def test_a_half_that_was_multiplied_into_the_gate():
    model = gelu("a = Div(x, root2) e = Erf(a) m = Mul(e, half) g = Add(m, half) y = Mul(x, g)")
    fuse_to_gelu(model, "none")


@pytest.mark.parametrize(
    "argument",
    [
        pytest.param(CUBE, id="TensorFlow: k (x + c x^3), Pow"),
        pytest.param(
            "xx = Mul(x, x) p = Mul(xx, x) q = Mul(p, c) s = Add(x, q) a = Mul(s, k)", id="products"
        ),
        pytest.param(
            "xx = Mul(x, x) q = Mul(xx, c) s = Add(q, one) kx = Mul(x, k) a = Mul(kx, s)",
            id="k x (1 + c x^2)",
        ),
        pytest.param(
            "xx = Pow(x, two) q = Mul(kc, xx) s = Add(k, q) a = Mul(x, s)", id="x (k + k c x^2)"
        ),
    ],
)
def test_arguments_of_tanh(argument):
    fuse_to_gelu(
        gelu(f"{argument} t = Tanh(a) g = Add(t, one) m = Mul(half, x) y = Mul(m, g)"), "tanh"
    )


def test_the_sigmoid_of_twice_the_argument_is_the_tanh_form():
    model = gelu(f"{CUBE.replace('(k, s)', '(k2, s)')} t = Sigmoid(a) y = Mul(x, t)")
    fuse_to_gelu(model, "tanh")


def test_the_gate_of_another_value_stays_outside():
    model = gelu(
        f"{ERF} m = Mul(x, g) h = Mul(m, half) y = Mul(h, other)",
        "(float[N,S,6] x, float[N,S,6] other) => (float[N,S,6] y)",
    )
    fuse(FuseGelu, model)
    assert operators(model) == ["Gelu", "Mul"]


TAIL = "m = Mul(x, g) y = Mul(m, half)"
TWO = "(float[N,S,6] x) => (float[N,S,6] y, float[N,S,6] z)"


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (gelu(f"{ERF} {TAIL}", opset=19), "Gelu needs opset 20, the model has 19"),
        (gelu(f"{ERF} {TAIL}", root2=1.45), "its argument is 0.689655 x, not 0.707107 x"),
        (gelu(f"{TANH} {TAIL}", c=0.0447), "form of GELU by tanh"),
        (gelu(f"{TANH} {TAIL}", k=0.8), "form of GELU by tanh"),
        (gelu(f"{ERF} {TAIL} z = Neg(g)", TWO), "'g'.* also read by"),
        (gelu(f"{ERF} {TAIL} z = Neg(e)", TWO), "'e'.* also read by"),
        (gelu(f"{ERF.replace('e =', 'z =').replace('(e,', '(z,')} {TAIL}", TWO), "an output"),
        (
            graph(
                SIGNATURE.replace("float", "float16"),
                f"{ERF} {TAIL}",
                {k: np.asarray(v, np.float16) for k, v in NUMBERS.items()},
            ),
            "FLOAT16",
        ),
        (
            gelu(f"{ERF} m = Mul(x, g) y = Mul(m, row)", "(float[6] x) => (float[1,1,1,6] y)"),
            "more dimensions",
        ),
    ],
)
def test_leaves(model, reason):
    leave(FuseGelu, model, reason)


@pytest.mark.parametrize(
    "body",
    [
        f"{ERF} m = Mul(x, g) y = Mul(m, quick)",
        f"{ERF} w = Neg(x) m = Mul(w, g) y = Mul(m, half)",
        "a = Mul(x, quick) t = Sigmoid(a) y = Mul(x, t)",
        "t = Sigmoid(x) y = Mul(x, t)",
        f"{ERF.replace('one', 'two')} {TAIL}",
        f"{ERF} y = Mul(x, g)",
    ],
    ids=["1.7 for 1/2", "minus x", "quick GELU", "SiLU", "2 + erf", "no half"],
)
def test_does_not_see_a_pattern_in(body):
    leave(FuseGelu, gelu(body))


@hypothesis.settings(deadline=None, max_examples=30)
@given(
    shape=st.lists(st.integers(1, 4), min_size=0, max_size=4),
    tanh=st.booleans(),
    product=st.sampled_from(list(products())),
    seed=st.integers(0, 1000),
)
def test_equals_the_operator_for_any_shape(shape, tanh, product, seed):
    dims = ",".join(map(str, shape))
    signature = f"(float[{dims}] x) => (float[{dims}] y)" if shape else "(float x) => (float y)"
    model = gelu(f"{TANH if tanh else ERF} {product}", signature)
    x = np.random.default_rng(seed).normal(0, 3, shape).astype(np.float32)
    fuse(FuseGelu, model, inputs={"x": x})
    assert operators(model) == ["Gelu"]
