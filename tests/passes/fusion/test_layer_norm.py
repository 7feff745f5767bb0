import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingot.passes.fusion import FuseLayerNorm
from tests.passes.fusion.harness import attribute, fuse, graph, leave, normal, operators

SIGNATURE = "(float[N,S,6] x) => (float[N,S,6] y)"
WEIGHTS = {
    "axes": [-1],
    "two": 2.0,
    "one": 1.0,
    "minus_half": -0.5,
    "eps": 1e-5,
    "scale": normal(6, seed=1),
    "bias": normal(6, seed=2),
}
DEVIATION = "m = ReduceMean(x, axes) d = Sub(x, m)"
VARIANCE = "s = Pow(d, two) v = ReduceMean(s, axes) e = Add(v, eps)"
NORMALIZED = f"{DEVIATION} {VARIANCE} r = Sqrt(e) n = Div(d, r)"
AFFINE = "k = Mul(n, scale) y = Add(k, bias)"


def norm(body, signature=SIGNATURE, opset=23, **weights):
    return graph(signature, body, {**WEIGHTS, **weights}, opset=opset)


def fuse_to_layer_norm(model, inputs=3):
    fuse(FuseLayerNorm, model, inputs={"x": normal(2, 5, 6) * 3 + 1} if inputs else None)
    assert operators(model) == ["LayerNormalization"]
    assert len(model.graph.node(-1).inputs) == inputs
    assert attribute(model, "LayerNormalization", "epsilon") == pytest.approx(1e-5)


@pytest.mark.parametrize("square", ["Pow(d, two)", "Mul(d, d)"])
@pytest.mark.parametrize("shifted", ["Add(v, eps)", "Add(eps, v)"])
@pytest.mark.parametrize(
    "quotient",
    [
        "r = Sqrt(e) n = Div(d, r)",
        "r = Sqrt(e) i = Reciprocal(r) n = Mul(d, i)",
        "r = Sqrt(e) i = Div(one, r) n = Mul(i, d)",
        "i = Pow(e, minus_half) n = Mul(d, i)",
    ],
)
def test_deviation_over_standard_deviation(square, shifted, quotient):
    body = f"{DEVIATION} s = {square} v = ReduceMean(s, axes) e = {shifted} {quotient} {AFFINE}"
    fuse_to_layer_norm(norm(body))


def test_a_deviation_that_is_computed_twice():
    body = (
        f"{DEVIATION} m2 = ReduceMean(x, axes) d2 = Sub(x, m2) "
        f"{VARIANCE.replace('(d,', '(d2,')} r = Sqrt(e) n = Div(d, r) {AFFINE}"
    )
    fuse_to_layer_norm(norm(body))


def test_axes_as_an_attribute_of_opset_17():
    body = f"{NORMALIZED} {AFFINE}".replace("ReduceMean(", "ReduceMean<axes=[-1]>(")
    fuse_to_layer_norm(norm(body.replace(", axes)", ")"), opset=17))


@pytest.mark.parametrize(
    ("tail", "inputs"),
    [
        ("k = Mul(scale, n) y = Add(bias, k)", 3),
        ("y = Mul(n, scale)", 2),
        ("y = Add(n, bias)", 3),
        ("", 2),
    ],
)
def test_with_and_without_scale_and_bias(tail, inputs):
    normalized = NORMALIZED if tail else NORMALIZED.replace("n = Div", "y = Div")
    fuse_to_layer_norm(norm(f"{normalized} {tail}"), inputs)


FACTORED = f"{DEVIATION} {VARIANCE} r = Sqrt(e) i = Reciprocal(r)"


@pytest.mark.parametrize(
    ("body", "inputs"),
    [
        ("f = Mul(i, scale) a = Mul(x, f) b = Mul(m, f) c = Sub(bias, b) y = Add(a, c)", 3),
        ("f = Mul(scale, i) a = Mul(f, x) b = Mul(f, m) c = Sub(bias, b) y = Add(c, a)", 3),
        ("a = Mul(x, i) b = Mul(m, i) c = Sub(bias, b) y = Add(a, c)", 3),
        ("f = Mul(i, scale) a = Mul(x, f) b = Mul(m, f) y = Sub(a, b)", 2),
        ("f = Div(scale, r) a = Mul(x, f) b = Mul(m, f) c = Sub(bias, b) y = Add(a, c)", 3),
    ],
)
def test_factored_as_tensorflow_writes_it(body, inputs):
    prefix = FACTORED if "Div(" not in body else FACTORED.replace(" i = Reciprocal(r)", "")
    fuse_to_layer_norm(norm(f"{prefix} {body}"), inputs)


@pytest.mark.parametrize("tail", ["y = Add(n, bias)", ""])
def test_rms_normalization_of_the_deviation(tail):
    result = "n" if tail else "y"
    body = f"{DEVIATION} {result} = RMSNormalization<axis=-1, epsilon=1e-5>(d, scale) {tail}"
    fuse_to_layer_norm(norm(body), 3 if tail else 2)


@pytest.mark.parametrize("axes", [[-2, -1], [-1, -2], [1, 2], [2, 1]])
def test_several_trailing_axes(axes):
    model = norm(
        f"{NORMALIZED} {AFFINE}",
        "(float[N,5,6] x) => (float[N,5,6] y)",
        axes=axes,
        scale=normal(5, 6),
        bias=normal(1, 5, 1),
    )
    fuse_to_layer_norm(model)
    assert attribute(model, "LayerNormalization", "axis") == -2


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 6), (1, 6)])
def test_a_constant_scale_of_another_shape_is_written_out(shape):
    model = norm(f"{NORMALIZED} {AFFINE}", scale=normal(*shape))
    fuse_to_layer_norm(model)
    scale = model.graph.node(-1).inputs[1]
    assert tuple(scale.shape) == (6,)


def test_a_scale_that_is_an_input():
    model = graph(
        "(float[N,S,6] x, float[6] scale) => (float[N,S,6] y)",
        f"{NORMALIZED} y = Mul(n, scale)",
        {k: v for k, v in WEIGHTS.items() if k != "scale"},
    )
    fuse(FuseLayerNorm, model)
    assert operators(model) == ["LayerNormalization"]


def test_double_precision_stays_double():
    weights = {k: np.asarray(v, np.float64) for k, v in WEIGHTS.items() if k not in ("axes", "two")}
    model = norm(f"{NORMALIZED} {AFFINE}", SIGNATURE.replace("float", "double"), **weights)
    fuse(FuseLayerNorm, model)
    assert attribute(model, "LayerNormalization", "stash_type") == 11


def test_a_gate_after_the_normalization_is_no_scale():
    model = norm(
        f"{NORMALIZED} y = Mul(n, gate)",
        "(float[N,S,6] x, float[N,S,6] gate) => (float[N,S,6] y)",
    )
    fuse(FuseLayerNorm, model)
    assert operators(model) == ["LayerNormalization", "Mul"]


def test_names_follow_the_last_node():
    model = norm(f"{NORMALIZED} k = Mul(n, scale) [ln_add] y = Add(k, bias)")
    fuse(FuseLayerNorm, model)
    node = model.graph.node(-1)
    assert (node.name, node.outputs[0].name) == ("ln_add/LayerNormalization", "y")


TWO = SIGNATURE[:-1] + ", float[N,S,6] z)"


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (
            norm(
                f"{NORMALIZED} {AFFINE}".replace(
                    "ReduceMean(x, axes)", "ReduceMean<axes=[-1]>(x)"
                ).replace("ReduceMean(s, axes)", "ReduceMean<axes=[-1]>(s)"),
                opset=16,
            ),
            "LayerNormalization needs opset 17, the model has 16",
        ),
        (norm(f"{NORMALIZED} {AFFINE} z = Neg(d)", TWO), "'d'.* also read by"),
        (norm(f"{NORMALIZED} {AFFINE}".replace("d ", "z ").replace("(d", "(z"), TWO), "an output"),
        (norm(f"{NORMALIZED} {AFFINE}", axes=[1]), "does not run over the last axes"),
        (norm(f"{NORMALIZED} {AFFINE}", axes=[0, 2]), "does not run over the last axes"),
        (
            norm(
                f"{NORMALIZED} {AFFINE}".replace("ReduceMean(s, axes)", "ReduceMean(s, other)"),
                "(float[N,5,6] x) => (float[N,5,6] y)",
                other=[-1, -2],
            ),
            "different axes",
        ),
        (norm(f"{NORMALIZED} {AFFINE}", "(float[N,S,D] x) => (float[N,S,6] y)"), "is unknown"),
        (
            norm(
                f"{NORMALIZED} {AFFINE}",
                SIGNATURE.replace("float", "float16"),
                **{k: np.asarray(v, np.float16) for k, v in WEIGHTS.items() if k != "axes"},
            ),
            "FLOAT16",
        ),
    ],
)
def test_leaves(model, reason):
    leave(FuseLayerNorm, model, reason)


@pytest.mark.parametrize(
    "body",
    [
        NORMALIZED.replace("Sub(x, m)", "Sub(m, x)") + AFFINE,
        f"{NORMALIZED} {AFFINE}".replace("Pow(d, two)", "Pow(d, three)"),
        f"{NORMALIZED} {AFFINE}".replace("Sqrt(e)", "Exp(e)"),
        f"{NORMALIZED} {AFFINE}".replace("ReduceMean(s, axes)", "ReduceSum(s, axes)"),
        f"{NORMALIZED} {AFFINE}".replace("Add(v, eps)", "Add(v, bias)"),
        f"{NORMALIZED} {AFFINE}".replace("Pow(d, two)", "Pow(x, two)"),
        "s = Pow(x, two) v = ReduceMean(s, axes) e = Add(v, eps) r = Sqrt(e) y = Div(x, r)",
    ],
    ids=["mean - x", "cubes", "exp", "sum", "epsilon per element", "squares of x", "RMS norm"],
)
def test_does_not_see_a_pattern_in(body):
    leave(FuseLayerNorm, norm(body, three=3.0))


@hypothesis.settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_equals_the_operator_for_any_shape_and_epsilon(data):
    shape = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    count = data.draw(st.integers(1, len(shape)))
    symbolic = ["N"] if count < len(shape) else [str(shape[0])]
    dims = ",".join([*symbolic, *map(str, shape[1:])])
    seed = data.draw(st.integers(0, 1000))
    factored = data.draw(st.booleans())
    tail = "f = Mul(i, scale) a = Mul(x, f) b = Mul(m, f) c = Sub(bias, b) y = Add(a, c)"
    model = norm(
        f"{FACTORED} {tail}" if factored else f"{NORMALIZED} {AFFINE}",
        f"(float[{dims}] x) => (float[{dims}] y)",
        axes=list(range(-count, 0)),
        eps=data.draw(st.sampled_from([1e-3, 1e-1])),
        scale=normal(*shape[-count:], seed=seed),
        bias=normal(*shape[-count:], seed=seed + 1),
    )
    fuse(FuseLayerNorm, model, inputs={"x": normal(*shape, seed=seed + 2)})
    assert operators(model) == ["LayerNormalization"]
