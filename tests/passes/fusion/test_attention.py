import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingot.passes.fusion import FuseAttention
from tests.passes.fusion.harness import attribute, fuse, graph, leave, normal, operators

QKV = "float[B,3,Q,4] q, float[B,3,K,4] k, float[B,3,K,5] v"
OUT = "(float[B,3,Q,5] y)"
NUMBERS = {
    "scale": 0.5,
    "divisor": 2.0,
    "root_scale": np.sqrt(np.float32(0.5)),
    "minus_inf": -np.inf,
    "lowest": float(np.finfo(np.float32).min),
    "zero": 0.0,
    "minus": -1.0,
}
KT = "t = Transpose<perm=[0,1,3,2]>(k)"
TAIL = "p = Softmax<axis=-1>(s) y = MatMul(p, v)"
SHAPES = {"q": (2, 3, 6, 4), "k": (2, 3, 7, 4), "v": (2, 3, 7, 5)}
INPUTS = {name: normal(*shape, seed=i) for i, (name, shape) in enumerate(SHAPES.items())}


def attention(body, extra="", inputs=QKV, outputs=OUT, opset=23, **weights):
    signature = f"({inputs}{', ' if extra else ''}{extra}) => {outputs}"
    return graph(signature, body, {**NUMBERS, **weights}, opset=opset)


def fuse_to_attention(model, *, before=(), after=(), **inputs):
    fuse(FuseAttention, model, inputs={**INPUTS, **inputs})
    assert operators(model) == [*before, "Attention", *after]


@pytest.mark.parametrize(
    ("scores", "scale"),
    [
        pytest.param(f"{KT} s = MatMul(q, t)", 1.0, id="unscaled"),
        pytest.param(f"{KT} m = MatMul(q, t) s = Mul(m, scale)", 0.5, id="scores times scale"),
        pytest.param(f"{KT} m = MatMul(q, t) s = Mul(scale, m)", 0.5, id="scale times scores"),
        pytest.param(
            f"{KT} m = MatMul(q, t) s = Div(m, divisor)", 0.5, id="TensorFlow: scores divided"
        ),
        pytest.param(f"{KT} a = Mul(q, scale) s = MatMul(a, t)", 0.5, id="queries scaled"),
        pytest.param(f"{KT} a = Div(q, divisor) s = MatMul(a, t)", 0.5, id="queries divided"),
        pytest.param(
            f"{KT} a = Mul(q, root_scale) b = Mul(t, root_scale) s = MatMul(a, b)",
            0.5,
            id="PyTorch: queries and transposed keys by the root",
        ),
        pytest.param(
            "b = Mul(k, scale) t = Transpose<perm=[0,1,3,2]>(b) s = MatMul(q, t)",
            0.5,
            id="keys scaled before the transpose",
        ),
        pytest.param(
            f"{KT} a = Mul(q, scale) m = MatMul(a, t) s = Div(m, divisor)", 0.25, id="scaled twice"
        ),
    ],
)
def test_scale_goes_into_the_attribute(scores, scale):
    model = attention(f"{scores} {TAIL}")
    fuse_to_attention(model)
    assert attribute(model, "Attention", "scale") == pytest.approx(scale)


def test_heads_are_split_and_joined_outside():
    model = graph(
        "(float[B,S,12] x) => (float[B,S,12] y)",
        "h = Reshape(x, split) q = Transpose<perm=[0,2,1,3]>(h) "
        "t = Transpose<perm=[0,2,3,1]>(h) v = Transpose<perm=[0,2,1,3]>(h) "
        "m = MatMul(q, t) s = Mul(m, scale) p = Softmax(s) o = MatMul(p, v) "
        "j = Transpose<perm=[0,2,1,3]>(o) y = Reshape(j, join)",
        {"split": [0, 0, 3, 4], "join": [0, 0, 12], "scale": 0.5},
    )
    fuse(FuseAttention, model)
    assert operators(model) == [
        "Reshape",
        "Transpose",
        "Transpose",
        "Transpose",
        "Attention",
        "Transpose",
        "Reshape",
    ]
    keys = next(n for n in model.graph if n.op_type == "Attention").inputs[1]
    assert tuple(keys.producer().attributes["perm"].as_ints()) == (0, 2, 1, 3)


def test_keys_that_come_transposed_are_transposed_back():
    model = attention(
        f"s = MatMul(q, t) {TAIL}", inputs="float[B,3,Q,4] q, float[B,3,4,K] t, float[B,3,K,5] v"
    )
    inputs = {"q": INPUTS["q"], "t": INPUTS["k"].swapaxes(2, 3).copy(), "v": INPUTS["v"]}
    fuse(FuseAttention, model, inputs=inputs)
    assert operators(model) == ["Transpose", "Attention"]


def test_keys_that_pytorch_transposes_by_way_of_three_dimensions():
    model = attention(
        "l = Shape<start=2, end=3>(k) b = Shape<start=0, end=1>(k) "
        "flat = Concat<axis=0>(minus_one, l, size) r = Reshape(k, flat) "
        "u = Transpose<perm=[0,2,1]>(r) back = Concat<axis=0>(b, heads, size, l) "
        f"t = Reshape(u, back) a = Mul(q, root_scale) c = Mul(t, root_scale) s = MatMul(a, c) "
        f"{TAIL}",
        minus_one=[-1],
        size=[4],
        heads=[3],
    )
    fuse(FuseAttention, model, inputs=INPUTS)
    assert "MatMul" not in operators(model)
    assert not {"Transpose", "Reshape"} & set(operators(model))


def test_keys_that_reshapes_scramble_are_not_taken_for_transposed_ones():
    model = attention(
        "flat = Reshape(k, wrong) u = Transpose<perm=[0,2,1]>(flat) t = Reshape(u, back) "
        f"s = MatMul(q, t) {TAIL}",
        inputs="float[2,3,6,4] q, float[2,3,4,4] k, float[2,3,4,5] v",
        outputs="(float[2,3,6,5] y)",
        wrong=[2, 12, 4],
        back=[2, 3, 4, 4],
    )
    fuse(FuseAttention, model)
    assert operators(model) == ["Reshape", "Transpose", "Reshape", "Transpose", "Attention"]


def test_a_scale_that_pytorch_computes_from_the_size_of_a_head():
    model = attention(
        "d = Shape<start=3, end=4>(q) f = Cast<to=1>(d) r = Sqrt(f) i = Div(one, r) h = Sqrt(i) "
        f"{KT} a = Mul(q, h) b = Mul(t, h) s = MatMul(a, b) {TAIL}",
        one=1.0,
    )
    fuse(FuseAttention, model, inputs=INPUTS)
    assert operators(model)[-1] == "Attention"
    assert attribute(model, "Attention", "scale") == pytest.approx(0.5)


def test_a_transpose_that_something_else_reads_stays():
    model = attention(
        f"{KT} s = MatMul(q, t) {TAIL} z = Neg(t)", outputs="(float[B,3,Q,5] y, float[B,3,4,K] z)"
    )
    fuse(FuseAttention, model, inputs=INPUTS)
    assert sorted(operators(model)) == ["Attention", "Neg", "Transpose"]


SCALED = f"{KT} m = MatMul(q, t) c = Mul(m, scale)"
MASKS = [
    ("float[Q,K] mask", (6, 7), []),
    ("float[1,Q,K] mask", (1, 6, 7), []),
    ("float[3,Q,K] mask", (3, 6, 7), []),
    ("float[B,1,Q,K] mask", (2, 1, 6, 7), []),
    ("float[B,3,Q,K] mask", (2, 3, 6, 7), []),
    ("float[B,1,1,K] mask", (2, 1, 1, 7), ["Shape", "Concat", "Expand"]),
    ("float[1,3,1,K] mask", (1, 3, 1, 7), ["Shape", "Concat", "Expand"]),
    ("float[K] mask", (7,), ["Shape", "Concat", "Expand"]),
    ("float[B,1,Q,1] mask", (2, 1, 6, 1), ["Shape", "Concat", "Expand"]),
    ("float[B,1,1,1] mask", (2, 1, 1, 1), ["Shape", "Shape", "Concat", "Expand"]),
]


GUARDED = "w = Softmax(s) n = IsNaN(w) p = Where(n, zero, w) y = MatMul(p, v)"


@pytest.mark.parametrize(("mask", "shape", "before"), MASKS)
@pytest.mark.parametrize(
    ("select", "negated"),
    [("Where(mask, c, minus_inf)", False), ("Where(mask, minus_inf, c)", True)],
)
def test_a_mask_that_selects(mask, shape, before, select, negated):
    model = attention(f"{SCALED} s = {select} {GUARDED}", mask.replace("float", "bool"))
    allowed = np.random.default_rng(3).random(shape) > 0.4
    fuse_to_attention(
        model, before=[*(["Not"] if negated else []), *before], mask=allowed ^ negated
    )


def test_a_row_without_keys_is_zero_as_in_the_guarded_form():
    model = attention(f"{SCALED} s = Where(mask, c, minus_inf) {GUARDED}", "bool[Q,K] mask")
    allowed = np.random.default_rng(3).random((6, 7)) > 0.4
    allowed[2] = False
    fuse_to_attention(model, mask=allowed)


def test_a_mask_of_static_size_is_expanded_to_a_constant_shape():
    model = attention(
        f"{SCALED} s = Where(mask, c, minus_inf) {GUARDED}",
        "bool[2,1,1,7] mask",
        inputs="float[2,3,6,4] q, float[2,3,7,4] k, float[2,3,7,5] v",
        outputs="(float[2,3,6,5] y)",
    )
    fuse_to_attention(model, before=["Expand"], mask=normal(2, 1, 1, 7) > 0)


def test_layers_share_the_expanded_mask():
    layer = "t{i} = Transpose<perm=[0,1,3,2]>({x}) m{i} = MatMul({x}, t{i}) "
    layer += "s{i} = Where(mask, m{i}, minus_inf) w{i} = Softmax(s{i}) n{i} = IsNaN(w{i}) "
    layer += "p{i} = Where(n{i}, zero, w{i}) {y} = MatMul(p{i}, {x})"
    model = graph(
        "(float[B,3,S,4] x, bool[B,1,1,S] mask) => (float[B,3,S,4] y)",
        layer.format(i=1, x="x", y="h") + " " + layer.format(i=2, x="h", y="y"),
        NUMBERS,
    )
    fuse(FuseAttention, model, applied=2)
    assert operators(model) == ["Shape", "Concat", "Expand", "Attention", "Attention"]


def test_names_follow_the_product_with_the_values():
    model = attention(f"{KT} s = MatMul(q, t) p = Softmax(s) [context] y = MatMul(p, v)")
    fuse_to_attention(model)
    node = model.graph.node(-1)
    assert (node.name, node.outputs[0].name) == ("context/Attention", "y")


PLAIN = f"{SCALED} s = Identity(c) {TAIL}".replace("s = Identity(c) ", "").replace("(s)", "(c)")


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        pytest.param(attention(PLAIN, opset=22), "Attention needs opset 23", id="opset"),
        pytest.param(
            attention(f"{PLAIN} z = Neg(p)", outputs="(float[B,3,Q,5] y, float[B,3,Q,K] z)"),
            "'p'.* also read by",
            id="probabilities are read",
        ),
        pytest.param(
            attention(PLAIN, outputs="(float[B,3,Q,5] y, float[B,3,Q,K] c)"),
            "'c'.* is an output of the graph",
            id="scores are an output",
        ),
        pytest.param(
            attention(PLAIN.replace("axis=-1", "axis=2")), "not run over the keys", id="axis"
        ),
        pytest.param(attention(PLAIN, scale=-0.5), "is not positive", id="negative scale"),
        pytest.param(attention(PLAIN, scale=0.0), "is not positive", id="zero scale"),
        pytest.param(
            attention(
                f"{KT} m = MatMul(q, t) a = Add(m, mask) s = Mul(a, scale) {TAIL}",
                "float[Q,K] mask",
            ),
            "scaled together",
            id="mask before scale",
        ),
        pytest.param(
            attention(f"{SCALED} s = Where(mask, c, minus_inf) {GUARDED}", "bool[M,1,1,K] mask"),
            "not known to broadcast",
            id="batch of the mask unknown",
        ),
        pytest.param(
            attention(f"{SCALED} s = Where(mask, c, minus_inf) {GUARDED}", "bool[1,1,M,K] mask"),
            "not known to broadcast",
            id="queries of the mask unknown",
        ),
        pytest.param(
            attention(
                f"{SCALED} s = Where(mask, c, minus_inf) {GUARDED}",
                "bool[2,1,1,1,K] mask",
                outputs="(float[2,B,3,Q,5] y)",
            ),
            "more than four",
            id="mask of five dimensions",
        ),
        pytest.param(
            attention(f"{SCALED} s = Where(mask, c, lowest) {TAIL}", "bool[Q,K] mask"),
            "not minus infinity",
            id="finite fill",
        ),
        pytest.param(
            attention(
                f"{SCALED} a = Where(mask, c, minus_inf) s = Add(a, other) {TAIL}",
                "bool[Q,K] mask, float[Q,K] other",
            ),
            "something else than zeros",
            id="both kinds of mask",
        ),
        pytest.param(
            attention(f"{SCALED} s = Add(c, mask) {TAIL}", "float[Q,K] mask"),
            "something else than zeros",
            id="a mask that is added",
        ),
        pytest.param(
            attention(f"{SCALED} s = Where(mask, c, minus_inf) {TAIL}", "bool[Q,K] mask"),
            "something else than zeros",
            id="no number without keys",
        ),
        pytest.param(
            attention(
                PLAIN.replace("0,1,3,2", "0,2,1"),
                inputs="float[B,Q,4] q, float[B,K,4] k, float[B,K,5] v",
                outputs="(float[B,Q,5] y)",
            ),
            "four dimensions",
            id="three dimensions",
        ),
        pytest.param(
            attention(PLAIN, inputs=QKV.replace("float[B,3,K,4] k", "float[B,1,K,4] k")),
            "agree in their heads: 3, 1, 3",
            id="keys of one head",
        ),
        pytest.param(
            attention(PLAIN, inputs=QKV.replace("float[B,3,K,5] v", "float[C,3,K,5] v")),
            "agree in their batch: B, B, C",
            id="batch of the values unknown",
        ),
        pytest.param(
            graph(
                f"({QKV}) => {OUT}".replace("float", "float16"),
                PLAIN,
                {"scale": np.float16(0.5)},
            ),
            "FLOAT16",
            id="half precision",
        ),
    ],
)
def test_leaves(model, reason):
    leave(FuseAttention, model, reason)


@pytest.mark.parametrize(
    "body",
    [
        PLAIN.replace("Softmax<axis=-1>", "Sigmoid"),
        PLAIN.replace("c = Mul(m, scale)", "c = Tanh(m)"),
        PLAIN.replace("c = Mul(m, scale)", "c = Mul(m, factor)"),
    ],
    ids=["no softmax", "soft cap", "a scale that is computed"],
)
def test_does_not_see_a_pattern_in(body):
    leave(FuseAttention, attention(body, "float factor"))


@hypothesis.settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_equals_the_operator_for_any_sizes_and_mask(data):
    size = st.integers(1, 4)
    b, h, q, k, d, e = (data.draw(size) for _ in range(6))
    symbolic = data.draw(st.booleans())
    names = ("B", h, "Q", "K") if symbolic else (b, h, q, k)
    actual = (b, h, q, k)
    kept = data.draw(st.lists(st.booleans(), min_size=4, max_size=4))
    drop = data.draw(st.integers(0, 3))
    mask_dims = [n if keep else 1 for n, keep in zip(names, kept, strict=True)][drop:]
    mask_shape = [n if keep else 1 for n, keep in zip(actual, kept, strict=True)][drop:]
    batch, _, queries, keys = names
    seed = data.draw(st.integers(0, 1000))
    model = graph(
        f"(float[{batch},{h},{queries},{d}] q, float[{batch},{h},{keys},{d}] k, "
        f"float[{batch},{h},{keys},{e}] v, bool[{','.join(map(str, mask_dims))}] mask) "
        f"=> (float[{batch},{h},{queries},{e}] y)",
        f"{SCALED} s = Where(mask, c, minus_inf) {GUARDED}",
        {**NUMBERS, "scale": data.draw(st.sampled_from([0.125, 0.5, 1.0]))},
    )
    inputs = {
        "q": normal(b, h, q, d, seed=seed),
        "k": normal(b, h, k, d, seed=seed + 1),
        "v": normal(b, h, k, e, seed=seed + 2),
        "mask": normal(*mask_shape, seed=seed + 3) > -0.5,
    }
    fuse(FuseAttention, model, inputs=inputs)
    assert operators(model)[-1] == "Attention"
