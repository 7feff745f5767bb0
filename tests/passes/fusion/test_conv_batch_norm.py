import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingot.passes.fusion import FuseConvBatchNorm
from tests.passes.fusion.harness import fuse, graph, leave, normal, operators


def norm_parameters(channels, seed=7):
    rng = np.random.default_rng(seed)
    draw = lambda low, high: rng.uniform(low, high, channels).astype(np.float32)  # noqa: E731
    return {"g": draw(-2, 2), "b": draw(-1, 1), "m": draw(-1, 1), "v": draw(0.1, 3)}


NORM = "y = BatchNormalization(z, g, b, m, v)"
IMAGE = "(float[N,4,8,8] x) => (float[N,6,8,8] y)"


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize(
    ("operator", "weights", "output"),
    [
        ("Conv<pads=[1,1,1,1]>", (6, 4, 3, 3), (6, 8, 8)),
        ("Conv<group=2>", (6, 2, 1, 1), (6, 8, 8)),
        ("Conv<group=4, strides=[2,2]>", (4, 1, 2, 2), (4, 4, 4)),
        ("ConvTranspose", (4, 6, 3, 3), (6, 10, 10)),
        ("ConvTranspose<group=2>", (4, 3, 1, 1), (6, 8, 8)),
    ],
)
def test_folds_into_convolutions(operator, weights, output, with_bias):
    c, h, w = output
    model = graph(
        f"(float[N,4,8,8] x) => (float[N,{c},{h},{w}] y)",
        f"z = {operator}(x, w{', c' if with_bias else ''}) {NORM}",
        {"w": normal(*weights), **norm_parameters(c), **({"c": normal(c)} if with_bias else {})},
    )
    fuse(FuseConvBatchNorm, model)
    assert operators(model) == [operator.split("<")[0]]
    assert len(model.graph.initializers) == 2


@pytest.mark.parametrize(
    ("product", "weights", "bias"),
    [
        ("Gemm(x, w)", (5, 6), None),
        ("Gemm<transB=1, alpha=0.5>(x, w)", (6, 5), None),
        ("Gemm<beta=0.5>(x, w, c)", (5, 6), (6,)),
        ("Gemm<beta=3.0, transB=1>(x, w, c)", (6, 5), (1, 6)),
        ("Gemm(x, w, c)", (5, 6), ()),
        ("MatMul(x, w)", (5, 6), None),
    ],
)
def test_folds_into_matrix_products(product, weights, bias):
    model = graph(
        "(float[N,5] x) => (float[N,6] y)",
        f"z = {product} {NORM}",
        {
            "w": normal(*weights),
            **norm_parameters(6),
            **({} if bias is None else {"c": normal(*bias)}),
        },
    )
    fuse(FuseConvBatchNorm, model)
    assert operators(model) == ["Gemm"]


@pytest.mark.parametrize("shape", [(), (1,), (6, 1, 1), (1, 6, 1, 1)])
@pytest.mark.parametrize("first", [False, True])
def test_folds_a_scale_per_channel(shape, first):
    operands = "s, z" if first else "z, s"
    model = graph(
        IMAGE,
        f"z = Conv(x, w) y = Mul({operands})",
        {"w": normal(6, 4, 1, 1), "s": normal(*shape)},
    )
    fuse(FuseConvBatchNorm, model)
    assert operators(model) == ["Conv"]
    assert len(model.graph.node(0).inputs) == 2, "a scale alone needs no bias"


def test_a_product_without_bias_stays_a_product_when_it_is_only_scaled():
    model = graph(
        "(float[N,5] x) => (float[N,6] y)",
        "z = MatMul(x, w) y = Mul(z, s)",
        {"w": normal(5, 6), "s": normal(6)},
    )
    fuse(FuseConvBatchNorm, model)
    assert operators(model) == ["MatMul"]


def test_the_output_keeps_its_name_and_the_convolution_its_own():
    model = graph(
        IMAGE,
        f"[features] z = Conv(x, w) [norm] {NORM}",
        {"w": normal(6, 4, 1, 1), **norm_parameters(6)},
    )
    fuse(FuseConvBatchNorm, model)
    (node,) = model.graph
    assert (node.name, node.outputs[0].name) == ("features", "y")


def test_weights_that_another_convolution_shares_are_not_touched():
    model = graph(
        "(float[N,4,8,8] x) => (float[N,6,8,8] y, float[N,6,8,8] other)",
        f"z = Conv(x, w) {NORM} other = Conv(x, w)",
        {"w": normal(6, 4, 1, 1), **norm_parameters(6)},
    )
    fuse(FuseConvBatchNorm, model)
    assert "w" in model.graph.initializers


def test_a_chain_of_scale_and_normalization_folds_at_once():
    model = graph(
        IMAGE,
        f"a = Conv(x, w) z = Mul(a, s) {NORM}",
        {"w": normal(6, 4, 1, 1), "s": normal(6, 1, 1), **norm_parameters(6)},
    )
    fuse(FuseConvBatchNorm, model, applied=2)
    assert operators(model) == ["Conv"]


W = normal(6, 4, 1, 1)


@pytest.mark.parametrize(
    ("signature", "body", "weights", "reason"),
    [
        pytest.param(
            "(float[N,4,8,8] x) => (float[N,6,8,8] y, float[N,6,8,8] r)",
            f"z = Conv(x, w) {NORM} r = Relu(z)",
            {"w": W, **norm_parameters(6)},
            "'z', inside of the pattern, is also read by",
            id="another consumer",
        ),
        pytest.param(
            "(float[N,4,8,8] x) => (float[N,6,8,8] y, float[N,6,8,8] z)",
            f"z = Conv(x, w) {NORM}",
            {"w": W, **norm_parameters(6)},
            "'z', inside of the pattern, is an output",
            id="graph output",
        ),
        pytest.param(
            "(float[N,4,8,8] x, float[6,4,1,1] w) => (float[N,6,8,8] y)",
            f"z = Conv(x, w) {NORM}",
            norm_parameters(6),
            "the weights of .* are not constant",
            id="weights are an input",
        ),
        pytest.param(
            "(float[N,4,8,8] x, float[6,4,1,1] w) => (float[N,6,8,8] y)",
            f"z = Conv(x, w) {NORM}",
            {"w": W, **norm_parameters(6)},
            "the weights of .* are not constant",
            id="weights can be overridden",
        ),
        pytest.param(
            "(float[N,4,8,8] x, float[6] c) => (float[N,6,8,8] y)",
            f"z = Conv(x, w, c) {NORM}",
            {"w": W, **norm_parameters(6)},
            "the bias of .* is not constant",
            id="bias is an input",
        ),
        pytest.param(
            "(float[N,4,8,8] x, float[6] g) => (float[N,6,8,8] y)",
            f"z = Conv(x, w) {NORM}",
            {"w": W, **{k: v for k, v in norm_parameters(6).items() if k != "g"}},
            "its scale, bias, mean or variance is not constant",
            id="scale is an input",
        ),
        pytest.param(
            IMAGE,
            "z = Conv(x, w) y, rm, rv = BatchNormalization<training_mode=1>(z, g, b, m, v)",
            {"w": W, **norm_parameters(6)},
            "training_mode=1",
            id="training",
        ),
        pytest.param(
            IMAGE,
            f"z = Conv(x, w) {NORM}",
            {"w": W, **norm_parameters(6), "v": np.full(6, -1, np.float32)},
            "variance plus epsilon is not positive",
            id="negative variance",
        ),
        pytest.param(
            "(float16[N,4,8,8] x) => (float16[N,6,8,8] y)",
            f"z = Conv(x, w) {NORM}",
            {k: v.astype(np.float16) for k, v in {"w": W, **norm_parameters(6)}.items()},
            "FLOAT16",
            id="half precision",
        ),
        pytest.param(
            "(float[5,6] x) => (float[5,6] y)",
            "z = Gemm(x, w, c) y = BatchNormalization(z, g, b, m, v)",
            {"w": normal(6, 6), "c": normal(5, 1), **norm_parameters(6)},
            "varies along another axis",
            id="a bias per row",
        ),
        pytest.param(
            IMAGE,
            "z = Conv(x, w) y = Mul(z, s)",
            {"w": W, "s": normal(8)},
            "varies along another axis",
            id="a scale per column",
        ),
        pytest.param(
            "(float[N,4,8,8] x) => (float[2,N,1,8,8] y)",
            "z = Conv(x, w) y = Mul(z, s)",
            {"w": normal(1, 4, 1, 1), "s": normal(2, 1, 1, 1, 1)},
            "more dimensions",
            id="a scale that adds a dimension",
        ),
        pytest.param(
            "(float[N,4,8,8] x) => (float[N,3,8,8] y)",
            "z = Conv(x, w) y = Mul(z, s)",
            {"w": normal(1, 4, 1, 1), "s": normal(3, 1, 1)},
            "does not fit the 1 channels",
            id="a scale that adds channels",
        ),
    ],
)
def test_leaves(signature, body, weights, reason):
    leave(FuseConvBatchNorm, graph(signature, body, weights), reason)


@pytest.mark.parametrize(
    "body",
    [
        f"z = Relu(x) {NORM}",
        "z = Conv(x, w) g2 = Sigmoid(z) y = Mul(z, g2)",
        "z = MatMul(x, q) y = Mul(z, s)",
    ],
    ids=["no linear operator", "a gate that is computed", "a product of four dimensions"],
)
def test_does_not_see_a_pattern_in(body):
    weights = {"w": normal(4, 4, 1, 1), "q": normal(8, 8), "s": normal(8), **norm_parameters(4)}
    leave(FuseConvBatchNorm, graph("(float[N,4,8,8] x) => (float[N,4,8,8] y)", body, weights))


@hypothesis.settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_folding_is_exact_within_rounding_for_any_convolution(data):
    groups = data.draw(st.sampled_from([1, 2, 3]))
    per_group_in, per_group_out = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    kernel = data.draw(st.integers(1, 3))
    transposed = data.draw(st.booleans())
    c_in, c_out = groups * per_group_in, groups * per_group_out
    shape = (c_in, per_group_out) if transposed else (c_out, per_group_in)
    op = "ConvTranspose" if transposed else "Conv"
    attributes = f"group={groups}, strides=[{data.draw(st.integers(1, 2))}], pads=[1, 0]"
    seed = data.draw(st.integers(0, 1000))
    model = graph(
        f"(float[N,{c_in},9] x) => (float[N,{c_out},L] y)",
        f"z = {op}<{attributes}>(x, w) "
        f"y = BatchNormalization<epsilon={data.draw(st.sampled_from([1e-5, 1e-3, 0.1]))}>"
        "(z, g, b, m, v)",
        {"w": normal(*shape, kernel, seed=seed), **norm_parameters(c_out, seed)},
    )
    inputs = {"x": normal(2, c_in, 9, seed=seed + 1)}
    fuse(FuseConvBatchNorm, model, inputs=inputs)
