"""Casts to 16 bits around layers, and on the edges between them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingot.arithmetic import Arithmetic
from ingot.calibration.collection import Calibration
from ingot.compiler.accuracy.smoothing import without_rounding
from ingot.errors import UsageError
from ingot.passes.invariants import check_graph, check_operators
from ingot.passes.precision import MultiplyInSixteenBits
from ingot.passes.precision.placement import MULTIPLIED
from ingot.passes.precision.sixteen_bits import SixteenBitsOptions
from ingot.passes.quantization.precision import layer_precisions
from ingot.passes.storage import save
from ingot.reference.session import Reference
from tests.passes.quantization.networks import images, model, normal, residual_network, sqnr

BOTH_TYPES = Arithmetic(sixteen_bits={"bf16": frozenset(MULTIPLIED), "fp16": frozenset(MULTIPLIED)})


def apply(network, arithmetic=BOTH_TYPES, data=None, **options):
    after = network.clone()
    pass_ = MultiplyInSixteenBits(SixteenBitsOptions(**options))
    pass_.arithmetic = arithmetic
    if data is not None:
        pass_.calibrate_with(Calibration(data))
    outcome = pass_(after)
    check_graph(after)
    check_operators(after)
    return after, outcome


def rounded(graph):
    """Names of the values that are rounded to 16 bits."""
    return [
        str(node.inputs[0].name)
        for node in graph
        if node.op_type == "Cast" and node.outputs[0].dtype != ir.DataType.FLOAT
    ]


def convolutions(body, count, channels=4):
    weights = {f"w{i}": normal(channels, channels, 3, 3, seed=i, scale=0.2) for i in range(count)}
    body = body.replace("Conv(", "Conv<pads=[1,1,1,1]>(")
    return model(f"(float[N,{channels},6,6] x) => (float[N,{channels},6,6] y)", body, weights)


def attention():
    weights = {name: normal(8, 8, seed=i) for i, name in enumerate("abcd")}
    body = (
        "q = MatMul(x, a) k = MatMul(x, b) v = MatMul(x, c) t = Transpose<perm=[0,2,1]>(k)"
        " s = MatMul(q, t) p = Softmax(s) o = MatMul(p, v) h = MatMul(o, d) y = Add(h, x)"
    )
    return model("(float[N,5,8] x) => (float[N,5,8] y)", body, weights)


@pytest.mark.parametrize(("kind", "least"), [("bf16", 38), ("fp16", 55)])
def test_layers_are_in_16_bits_and_outputs_stay_close_and_float32(kind, least):
    network = residual_network()
    after, outcome = apply(network, type=kind)
    assert outcome.applied == 4
    assert set(layer_precisions(after.graph).values()) == {kind}
    assert after.graph.outputs[0].producer().op_type == "Gemm"
    assert sqnr(network, after, images(seed=9)) > least


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        pytest.param(
            convolutions("a = Conv(x, w0) b = Relu(a) y = Conv(b, w1)", 2),
            ["x", "b"],
            id="what is element-wise stays in registers",
        ),
        pytest.param(
            convolutions("a = Conv(x, w0) b = Sigmoid(a) c = Mul(a, b) y = Conv(c, w1)", 2),
            ["x", "c"],
            id="a gate of itself is one kernel",
        ),
        pytest.param(
            convolutions(
                "a = Conv(x, w0) b = Relu(a) c = Conv(b, w1) d = Add(c, b) y = Conv(d, w2)", 3
            ),
            ["x", "b", "d"],
            id="residual edges are read in 16 bits",
        ),
        pytest.param(
            convolutions("a = Conv(x, w0) b = Conv(x, w1) c = Add(b, a) y = Conv(c, w2)", 3),
            ["x", "a", "c"],
            id="of two branches the one computed first is written",
        ),
        pytest.param(
            convolutions("a = Conv(x, w0) b = GlobalAveragePool(a) y = Mul(a, b)", 1),
            ["x", "a"],
            id="what a pooling reads is written",
        ),
        pytest.param(
            convolutions("a = Conv(x, w0) b = MaxPool<kernel_shape=[1,1]>(a) y = Conv(b, w1)", 2),
            ["x", "a", "b"],
            id="what only moves is in 16 bits before and behind",
        ),
        pytest.param(
            attention(), ["x", "q", "k", "t", "v", "p", "o"], id="scores stay in registers"
        ),
    ],
)
def test_what_memory_holds_is_rounded(network, expected):
    after, _ = apply(network)
    assert sorted(rounded(after.graph)) == sorted(expected)


def test_all_that_reads_a_rounded_value_reads_it_rounded_by_a_cast_of_its_own():
    after, _ = apply(residual_network())
    for node in after.graph:
        if node.op_type == "Cast" and node.outputs[0].dtype == ir.DataType.FLOAT:
            assert len(node.outputs[0].uses()) == 1
    by_name = {node.name: node for node in after.graph}
    residual = by_name["add3"].inputs[1].producer()
    assert residual.op_type == "Cast"
    assert residual.inputs[0].dtype == ir.DataType.BFLOAT16


def test_a_saved_graph_opens_and_runs_the_same_in_onnx_runtime(tmp_path):
    after, _ = apply(residual_network())
    save(after, tmp_path / "after.onnx")
    inputs = images(1, seed=3)[0]
    again = Reference(ir.load(tmp_path / "after.onnx")).run(inputs)["y"]
    np.testing.assert_array_equal(again, Reference(after).run(inputs)["y"])


@pytest.mark.parametrize(
    ("arithmetic", "options", "reason"),
    [
        (Arithmetic(), {}, "the target does not multiply a MatMul in bf16"),
        (BOTH_TYPES, {"operators": ("Conv",)}, "it is kept in float32"),
    ],
)
def test_leaves_with_a_reason(arithmetic, options, reason):
    network = attention()
    after, outcome = apply(network, arithmetic, **options)
    assert {declined.reason for declined in outcome.declined} == {reason}
    assert not outcome.modified
    assert [node.op_type for node in after.graph] == [node.op_type for node in network.graph]


def test_layers_that_are_kept_leave_their_inputs_as_they_are():
    network = convolutions("a = Conv(x, w0) b = Conv(a, w1) y = Conv(b, w2)", 3)
    after, outcome = apply(network, keep_float=("conv0", "conv2"))
    assert [declined.node for declined in outcome.declined] == ["conv0", "conv2"]
    assert rounded(after.graph) == ["a", "b"]
    with pytest.raises(UsageError, match="keep_float names 'other'"):
        apply(network, keep_float=("other",))


def test_what_data_shows_beyond_fp16_stays_float32():
    network = convolutions("a = Conv(x, w0) b = Conv(a, w1) c = Relu(b) y = Conv(c, w2)", 3)
    large = [{"x": images(1)[0]["x"][:, [0, 1, 2, 0], :6, :6] * 4e4} for _ in range(4)]
    after, outcome = apply(network, data=large, type="fp16")
    assert all("beyond fp16's 65504" in declined.reason for declined in outcome.declined)
    assert outcome.declined[0].node == "conv0"
    outputs = Reference(after).run(large[0])["y"]
    np.testing.assert_allclose(
        outputs, Reference(network).run(large[0])["y"], rtol=0, atol=0.01 * np.abs(outputs).max()
    )
    _, without = apply(network, type="fp16")
    assert not without.declined


@given(st.integers(1, 6), st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_without_its_rounding_the_graph_is_the_float_graph(count, seed):
    generator = np.random.default_rng(seed)
    lines, known = ["v0 = Conv(x, w0)"], ["v0"]
    for index in range(1, count + 1):
        one, other = generator.choice(known, 2)
        kinds = [f"Conv({one}, w{index})", f"Add({one}, {other})", f"Relu({one})", f"Tanh({one})"]
        lines.append(f"v{index} = {generator.choice(kinds)}")
        known.append(f"v{index}")
    network = convolutions(" ".join([*lines, f"y = Conv({known[-1]}, w{count + 1})"]), count + 2)
    for index in range(count + 2):
        value = network.graph.initializers[f"w{index}"]
        short = value.const_value.numpy().astype(np.float16).astype(np.float32)
        value.const_value = ir.tensor(short, name=value.name)
    after, _ = apply(network, type="fp16")
    inputs = {"x": generator.normal(size=(2, 4, 6, 6)).astype(np.float32)}
    expected = Reference(network).run(inputs)["y"]
    actual = Reference(without_rounding(after)).run(inputs)["y"]
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_layers_in_integers_stay_so():
    network = model(
        "(float[N,8] x) => (float[N,4] y)",
        "a = QuantizeLinear(x, s, z) b = DequantizeLinear(a, s, z) y = MatMul(b, w)",
        {"w": normal(8, 4), "s": np.array(0.1, np.float32), "z": np.array(128, np.uint8)},
    )
    _, outcome = apply(network)
    assert [one.reason for one in outcome.declined] == ["it is quantized to integers"]
