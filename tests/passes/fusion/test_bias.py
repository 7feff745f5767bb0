import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingot.passes.fusion import FuseBias
from tests.passes.fusion.harness import fuse, graph, leave, normal, operators

IMAGE = "(float[N,4,8,8] x) => (float[N,6,8,8] y)"
ROWS = "(float[N,5] x) => (float[N,6] y)"


@pytest.mark.parametrize("add", ["Add(z, c)", "Add(c, z)", "Sub(z, c)"])
@pytest.mark.parametrize("shape", [(6, 1, 1), (1, 6, 1, 1), (1, 1, 1), (), (1,)])
@pytest.mark.parametrize("with_bias", [False, True])
def test_convolution_gets_a_bias(add, shape, with_bias):
    weights = {"w": normal(6, 4, 1, 1), "c": normal(*shape), "b": normal(6, seed=1)}
    if not with_bias:
        del weights["b"]
    model = graph(IMAGE, f"z = Conv(x, w{', b' if with_bias else ''}) y = {add}", weights)
    fuse(FuseBias, model)
    assert operators(model) == ["Conv"]
    assert len(model.graph.initializers) == 2


def test_transposed_convolution_gets_a_bias():
    model = graph(
        "(float[N,4,8] x) => (float[N,6,8] y)",
        "z = ConvTranspose<group=2>(x, w) y = Add(z, c)",
        {"w": normal(4, 3, 1), "c": normal(6, 1)},
    )
    fuse(FuseBias, model)
    assert operators(model) == ["ConvTranspose"]


@pytest.mark.parametrize("shape", [(6,), (1, 6), (1,), ()])
@pytest.mark.parametrize(
    ("product", "transposed", "with_bias"),
    [
        ("MatMul(x, w)", False, False),
        ("Gemm(x, w)", False, False),
        ("Gemm<transB=1, alpha=2.0, beta=0.5>(x, w, b)", True, True),
    ],
)
def test_matrix_product_becomes_a_gemm_with_a_bias(shape, product, transposed, with_bias):
    model = graph(
        ROWS,
        f"z = {product} y = Add(c, z)",
        {
            "w": normal(6, 5) if transposed else normal(5, 6),
            "c": normal(*shape),
            **({"b": normal(6, seed=1)} if with_bias else {}),
        },
    )
    fuse(FuseBias, model)
    assert operators(model) == ["Gemm"]


def test_the_second_operand_of_a_product_may_be_computed():
    model = graph(
        "(float[N,5] x, float[5,6] w) => (float[N,6] y)",
        "z = MatMul(x, w) y = Add(z, c)",
        {"c": normal(6)},
    )
    fuse(FuseBias, model)
    assert operators(model) == ["Gemm"]


def test_names_follow_the_product():
    model = graph(
        ROWS, "[fc] z = MatMul(x, w) [add] y = Add(z, c)", {"w": normal(5, 6), "c": normal(6)}
    )
    fuse(FuseBias, model)
    (node,) = model.graph
    assert (node.name, node.outputs[0].name) == ("fc/Gemm", "y")


@pytest.mark.parametrize(
    ("signature", "body", "weights", "reason"),
    [
        pytest.param(
            "(float[N,4,8,8] x) => (float[N,6,8,8] y, float[N,6,8,8] r)",
            "z = Conv(x, w) y = Add(z, c) r = Relu(z)",
            {"w": normal(6, 4, 1, 1), "c": normal(6, 1, 1)},
            "also read by",
            id="another consumer",
        ),
        pytest.param(
            "(float[N,5] x) => (float[N,6] y, float[N,6] z)",
            "z = MatMul(x, w) y = Add(z, c)",
            {"w": normal(5, 6), "c": normal(6)},
            "is an output of the graph",
            id="graph output",
        ),
        pytest.param(
            IMAGE,
            "z = Conv(x, w) y = Add(z, c)",
            {"w": normal(6, 4, 1, 1), "c": normal(6, 8, 8)},
            "varies along another axis",
            id="a constant per pixel",
        ),
        pytest.param(
            IMAGE,
            "z = Conv(x, w) y = Add(z, c)",
            {"w": normal(6, 4, 1, 1), "c": normal(8)},
            "varies along another axis",
            id="a constant per column",
        ),
        pytest.param(
            "(float[N,5] x, float[6] b) => (float[N,6] y)",
            "z = Gemm(x, w, b) y = Add(z, c)",
            {"w": normal(5, 6), "c": normal(6)},
            "the bias of .* is not constant",
            id="a bias that is an input",
        ),
        pytest.param(
            "(float[5,5] x) => (float[5,6] y)",
            "z = Gemm(x, w) y = Add(z, c)",
            {"w": normal(5, 6), "c": normal(5, 1)},
            "varies along another axis",
            id="a constant per row",
        ),
        pytest.param(
            "(float[N,5] x) => (float[N,6] y)",
            "z = MatMul(x, w) y = Add(z, c)",
            {"w": normal(5, 1), "c": normal(6)},
            "does not fit the 1 channels",
            id="a constant that adds columns",
        ),
        pytest.param(
            "(int32[N,5] x) => (int32[N,6] y)",
            "z = MatMul(x, w) y = Add(z, c)",
            {"w": np.ones((5, 6), np.int32), "c": np.ones(6, np.int32)},
            "INT32, not floating-point",
            id="integers",
        ),
        pytest.param(
            "(float[N,5] x, float[5,M] w) => (float[N,M] y)",
            "z = MatMul(x, w) y = Add(z, c)",
            {"c": np.float32(1)},
            "number of channels .* is unknown",
            id="columns unknown",
        ),
    ],
)
def test_leaves(signature, body, weights, reason):
    leave(FuseBias, graph(signature, body, weights), reason)


@pytest.mark.parametrize(
    ("signature", "body"),
    [
        ("(float[N,3,5] x) => (float[N,3,6] y)", "z = MatMul(x, w) y = Add(z, c)"),
        ("(float[N,5] x, float[N,6] r) => (float[N,6] y)", "z = MatMul(x, w) y = Add(z, r)"),
        ("(float[N,5] x) => (float[N,6] y)", "z = MatMul(x, w) y = Sub(c, z)"),
    ],
    ids=["a batched product", "a residual", "a reversed subtraction"],
)
def test_does_not_see_a_pattern_in(signature, body):
    leave(FuseBias, graph(signature, body, {"w": normal(5, 6), "c": normal(6)}))


@hypothesis.settings(deadline=None, max_examples=25)
@given(
    channels=st.integers(1, 5),
    leading=st.integers(0, 2),
    per_channel=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_any_constant_per_channel_becomes_the_bias(channels, leading, per_channel, seed):
    shape = (1,) * min(leading, 1) + (channels if per_channel else 1, 1)
    model = graph(
        f"(float[N,3,7] x) => (float[N,{channels},7] y)",
        "z = Conv(x, w) y = Add(z, c)",
        {"w": normal(channels, 3, 1, seed=seed), "c": normal(*shape, seed=seed + 1)},
    )
    fuse(FuseBias, model)
    assert operators(model) == ["Conv"]
