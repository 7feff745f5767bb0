import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingot.passes.fusion import FuseRmsNorm
from tests.passes.fusion.harness import attribute, fuse, graph, leave, normal, operators

SIGNATURE = "(float[N,S,6] x) => (float[N,S,6] y)"
WEIGHTS = {
    "axes": [-1],
    "two": 2.0,
    "three": 3.0,
    "one": 1.0,
    "minus_half": -0.5,
    "eps": 1e-6,
    "scale": normal(6, seed=1),
}
SQUARES = "s = Pow(x, two) v = ReduceMean(s, axes) e = Add(v, eps)"
RMS = f"{SQUARES} r = Sqrt(e) i = Reciprocal(r) n = Mul(x, i)"


def norm(body, signature=SIGNATURE, opset=23, **weights):
    return graph(signature, body, {**WEIGHTS, **weights}, opset=opset)


def fuse_to_rms_norm(model):
    fuse(FuseRmsNorm, model)
    assert operators(model) == ["RMSNormalization"]


@pytest.mark.parametrize("square", ["Pow(x, two)", "Mul(x, x)"])
@pytest.mark.parametrize(
    "quotient",
    [
        "r = Sqrt(e) n = Div(x, r)",
        "r = Sqrt(e) i = Reciprocal(r) n = Mul(x, i)",
        "r = Sqrt(e) i = Div(one, r) n = Mul(i, x)",
        "i = Pow(e, minus_half) n = Mul(x, i)",
    ],
)
@pytest.mark.parametrize("product", ["Mul(n, scale)", "Mul(scale, n)"])
def test_x_over_its_root_mean_square(square, quotient, product):
    body = f"s = {square} v = ReduceMean(s, axes) e = Add(v, eps) {quotient} y = {product}"
    fuse_to_rms_norm(norm(body))


def test_without_a_scale():
    fuse_to_rms_norm(norm(RMS.replace("n = Mul", "y = Mul")))


def test_several_trailing_axes():
    model = norm(
        f"{RMS} y = Mul(n, scale)",
        "(float[N,5,6] x) => (float[N,5,6] y)",
        axes=[1, 2],
        scale=normal(5, 6),
    )
    fuse_to_rms_norm(model)
    assert attribute(model, "RMSNormalization", "axis") == -2


TWO = SIGNATURE[:-1] + ", float[N,S,Q] z)"


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (norm(f"{RMS} y = Mul(n, scale)", opset=22), "RMSNormalization needs opset 23"),
        (norm(f"{RMS} y = Mul(n, scale) z = Neg(i)", TWO), "'i'.* also read by"),
        (norm(f"{RMS} y = Mul(n, scale)".replace("v ", "z ").replace("(v,", "(z,"), TWO), "output"),
        (norm(f"{RMS} y = Mul(n, scale)", axes=[1]), "does not run over the last axes"),
        (norm(f"{RMS} y = Mul(n, scale)", "(float[N,S,D] x) => (float[N,S,6] y)"), "is unknown"),
        (
            norm(
                f"{RMS} y = Mul(n, scale)",
                SIGNATURE.replace("float", "float16"),
                **{k: np.asarray(v, np.float16) for k, v in WEIGHTS.items() if k != "axes"},
            ),
            "FLOAT16",
        ),
    ],
)
def test_leaves(model, reason):
    leave(FuseRmsNorm, model, reason)


@pytest.mark.parametrize(
    "body",
    [
        f"{RMS} y = Mul(n, scale)".replace("Pow(x, two)", "Pow(x, three)"),
        f"{RMS} y = Mul(n, scale)".replace("ReduceMean", "ReduceSum"),
        f"{RMS} y = Mul(n, scale)".replace("Sqrt", "Exp"),
        f"o = Neg(x) {RMS} y = Mul(n, scale)".replace("Mul(x, i)", "Mul(o, i)"),
    ],
    ids=["cubes", "sum", "exp", "of another value"],
)
def test_does_not_see_a_pattern_in(body):
    leave(FuseRmsNorm, norm(body))


def test_a_reduction_that_drops_its_axis_is_not_taken():
    body = f"{SQUARES} r = Sqrt(e) y = Div(x, r)".replace("ReduceMean(", "ReduceMean<keepdims=0>(")
    leave(FuseRmsNorm, norm(body, "(float[6,6] x) => (float[6,6] y)"))


@hypothesis.settings(deadline=None, max_examples=20)
@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    eps=st.sampled_from([1e-6, 1e-3, 0.1]),
    seed=st.integers(0, 1000),
)
def test_equals_the_operator_for_any_shape_and_epsilon(shape, eps, seed):
    dims = ",".join(map(str, shape))
    model = norm(
        f"{RMS} y = Mul(n, scale)",
        f"(float[{dims}] x) => (float[{dims}] y)",
        eps=eps,
        scale=normal(shape[-1], seed=seed),
    )
    fuse(FuseRmsNorm, model, inputs={"x": normal(*shape, seed=seed + 1)})
    assert operators(model) == ["RMSNormalization"]
