import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingot.passes.fusion import FusePad
from tests.passes.fusion.harness import attribute, fuse, graph, leave, normal, operators

SIGNATURE = "(float[N,3,9,9] x) => (float[N,C,H,W] y)"
SPATIAL = [0, 0, 1, 2, 0, 0, 3, 0]  # top 1, left 2, bottom 3, right 0


def padded(operator, pads=SPATIAL, *, fill="zero", before="x", signature=SIGNATURE, **weights):
    fill_input = f", {fill}" if fill else ""
    prefix = "" if before == "x" else f"before = {before} "
    return graph(
        signature,
        f"{prefix} p = Pad({'x' if before == 'x' else 'before'}, pads{fill_input}) y = {operator}",
        {"pads": pads, "zero": 0.0, "low": -np.inf, "one": 1.0, "w": normal(4, 3, 4, 4), **weights},
    )


@pytest.mark.parametrize("fill", ["zero", ""])
@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("", [1, 2, 3, 0]),
        ("<pads=[1,0,0,2]>", [2, 2, 3, 2]),
        ('<auto_pad="VALID", strides=[2,2]>', [1, 2, 3, 0]),
        ("<dilations=[2,1]>", [1, 2, 3, 0]),
    ],
)
def test_convolution_pads_by_itself(attributes, expected, fill):
    model = padded(f"Conv{attributes}(p, w)", fill=fill)
    fuse(FusePad, model)
    assert operators(model) == ["Conv"]
    assert list(attribute(model, "Conv", "pads")) == expected


def test_padding_of_chosen_axes():
    model = graph(
        SIGNATURE,
        "p = Pad(x, pads, zero, axes) y = Conv(p, w)",
        {"pads": [1, 2, 0, 3], "zero": 0.0, "axes": [-1, 2], "w": normal(4, 3, 3, 3)},
    )
    fuse(FusePad, model)
    assert list(attribute(model, "Conv", "pads")) == [2, 1, 3, 0]


def test_padding_as_attributes_of_opset_10():
    model = graph(
        SIGNATURE,
        "p = Pad<pads=[0,0,1,1,0,0,1,1], value=0.0>(x) y = Conv(p, w)",
        {"w": normal(4, 3, 3, 3)},
        opset=10,
    )
    fuse(FusePad, model)
    assert list(attribute(model, "Conv", "pads")) == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("pool", "pads"),
    [
        ("AveragePool<kernel_shape=[4,4]>(p)", [1, 2, 3, 0]),
        ("AveragePool<kernel_shape=[5,5], count_include_pad=1, pads=[1,1,1,1]>(p)", [2, 3, 4, 1]),
        ("AveragePool<kernel_shape=[4,4], strides=[2,3]>(p)", [1, 2, 3, 0]),
    ],
)
def test_average_pooling_counts_the_padding(pool, pads):
    model = padded(pool)
    fuse(FusePad, model)
    assert operators(model) == ["AveragePool"]
    assert attribute(model, "AveragePool", "count_include_pad") == 1
    assert list(attribute(model, "AveragePool", "pads")) == pads


def test_max_pooling_with_minus_infinity():
    model = padded("MaxPool<kernel_shape=[4,4], strides=[2,2]>(p)", fill="low")
    fuse(FusePad, model)
    assert operators(model) == ["MaxPool"]


@pytest.mark.parametrize("before", ["Relu(x)", "Sigmoid(x)", "Clip(x, zero, six)"])
def test_max_pooling_with_zeros_of_what_is_never_negative(before):
    model = padded("MaxPool<kernel_shape=[4,4], strides=[2,2]>(p)", before=before, six=6.0)
    fuse(FusePad, model)
    assert operators(model)[1:] == ["MaxPool"]


MAX = "MaxPool<kernel_shape=[4,4]>(p)"
AVERAGE = "AveragePool<kernel_shape=[4,4]>(p)"


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (padded("Conv(p, w)", fill="one"), "the padding is 1, a convolution pads with zeros"),
        (padded("Conv(p, w)", [0, 0, -1, 0, 0, 0, 1, 0]), "negative"),
        (padded("Conv(p, w)", [0, 1, 1, 1, 0, 0, 0, 0], w=normal(4, 4, 3, 3)), "channels"),
        (padded("Conv(p, w)", [1, 0, 1, 1, 0, 0, 0, 0]), "batch"),
        (padded('Conv<auto_pad="SAME_UPPER">(p, w)'), "auto_pad=SAME_UPPER"),
        (padded(MAX), "may be negative"),
        (padded(MAX, before="Clip(x, low, one)"), "may be negative"),
        (padded(MAX, fill="one"), "the padding is 1"),
        (padded("MaxPool<kernel_shape=[3,3]>(p)", fill="low"), "nothing but padding"),
        (padded("MaxPool<kernel_shape=[4,4], ceil_mode=1>(p)", fill="low"), "ceil_mode"),
        (padded("MaxPool<kernel_shape=[4,4], dilations=[2,2]>(p)", fill="low"), "dilated"),
        (padded(AVERAGE, fill="low"), "average pooling pads with zeros"),
        (padded("AveragePool<kernel_shape=[5,5], pads=[1,1,1,1]>(p)"), "does not count"),
        (padded("AveragePool<kernel_shape=[4,4], ceil_mode=1>(p)"), "ceil_mode"),
        (
            graph(
                "(float[N,3,9,9] x, int64[8] pads) => (float[N,C,H,W] y)",
                "p = Pad(x, pads) y = Conv(p, w)",
                {"w": normal(4, 3, 3, 3)},
            ),
            "width is computed",
        ),
        (
            graph(
                "(float[N,3,9,9] x, float fill) => (float[N,C,H,W] y)",
                "p = Pad(x, pads, fill) y = Conv(p, w)",
                {"w": normal(4, 3, 3, 3), "pads": SPATIAL},
            ),
            "value is computed",
        ),
        (
            graph(
                SIGNATURE,
                'p = Pad<mode="reflect">(x, pads) y = Conv(p, w)',
                {"w": normal(4, 3, 3, 3), "pads": SPATIAL},
            ),
            "not constant",
        ),
        (
            padded(
                "Conv(p, w) z = Relu(p)",
                signature="(float[N,3,9,9] x) => (float[N,C,H,W] y, float[N,D,I,J] z)",
            ),
            "also read by",
        ),
        (
            padded(
                "Conv(p, w)",
                signature="(float[N,3,9,9] x) => (float[N,C,H,W] y, float[N,D,I,J] p)",
            ),
            "is an output of the graph",
        ),
        (
            graph(
                "(float[N,3,9,9] x) => (float[N,C,H,W] y, int64[N,C,H,W] i)",
                "p = Pad(x, pads, low) y, i = MaxPool<kernel_shape=[4,4]>(p)",
                {"pads": SPATIAL, "low": -np.inf},
            ),
            "indices",
        ),
    ],
)
def test_leaves(model, reason):
    leave(FusePad, model, reason)


@hypothesis.settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_any_padding_that_is_taken_over_changes_nothing(data):
    widths = data.draw(st.lists(st.integers(0, 3), min_size=2, max_size=2))
    own = data.draw(st.lists(st.integers(0, 1), min_size=2, max_size=2))
    kernel, stride = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3))
    operator = data.draw(st.sampled_from(["Conv", "AveragePool", "MaxPool"]))
    own_text = ", pads=[{},{}]".format(*(min(p, kernel - 1) for p in own))
    include = f", count_include_pad={data.draw(st.integers(0, 1))}"
    model = graph(
        "(float[N,2,8] x) => (float[N,C,L] y)",
        f"r = {data.draw(st.sampled_from(['Relu', 'Tanh']))}(x) p = Pad(r, pads, fill) "
        f"y = {operator}<kernel_shape=[{kernel}], strides=[{stride}]{own_text}"
        f"{include if operator == 'AveragePool' else ''}>(p{', w' if operator == 'Conv' else ''})",
        {
            "pads": [0, 0, widths[0], 0, 0, widths[1]],
            "fill": data.draw(st.sampled_from([0.0, -np.inf])),
            "w": normal(3, 2, kernel),
        },
    )
    if FusePad()(model.clone()).applied:
        fuse(FusePad, model)
