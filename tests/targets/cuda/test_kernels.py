"""Each kind of kernel, thread by thread on an emulated GPU, against ONNX Runtime."""

from __future__ import annotations

import ctypes

import numpy as np
import onnx
import pytest
from onnx import parser

from ingot.errors import InputError
from tests.conftest import small_network
from tests.targets.cuda.conftest import Run, reference

# By kind: the graph's signature and body. Sizes are odd, so that no tile fits.
_GRAPHS = {
    "matmul": "(float[37,19] a, float[19,23] b) => (float[37,23] y) { y = MatMul(a, b) }",
    "matmul large": "(float[130,70] a, float[70,65] b) => (float[130,65] y) { y = MatMul(a, b) }",
    "matmul batched": "(float[3,9,17] a, float[3,17,5] b) => (float[3,9,5] y) { y = MatMul(a, b) }",
    "vector": "(float[1,57] a, float[57,31] b) => (float[1,31] y) { y = MatMul(a, b) }",
    "convolution": """(float[1,5,11,13] x, float[7,5,3,3] w) => (float[1,7,6,7] y)
        { y = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w) }""",
    "pointwise": """(float[1,33,7,9] x, float[17,33,1,1] w) => (float[1,17,7,9] y)
        { y = Conv(x, w) }""",
    "depthwise": """(float[1,13,9,11] x, float[13,1,3,3] w) => (float[1,13,9,11] y)
        { y = Conv<pads=[1,1,1,1], group=13>(x, w) }""",
    "grouped": """(float[1,12,9,7] x, float[9,4,3,3] w) => (float[1,9,7,5] y)
        { y = Conv<group=3>(x, w) }""",
    "transposed convolution": """(float[1,5,7,9] x, float[5,3,3,3] w) => (float[1,3,15,19] y)
        { y = ConvTranspose<strides=[2,2]>(x, w) }""",
    "softmax": "(float[5,7,33] x) => (float[5,7,33] y) { y = Softmax<axis=-1>(x) }",
    "layer norm": """(float[3,5,37] x, float[37] w, float[37] b) => (float[3,5,37] y)
        { y = LayerNormalization(x, w, b) }""",
    "instance norm": """(float[2,3,7,9] x, float[3] w, float[3] b) => (float[2,3,7,9] y)
        { y = InstanceNormalization(x, w, b) }""",
    "attention": """(float[1,3,17,8] q, float[1,3,8,17] k, float[1,3,17,8] v)
        => (float[1,3,17,8] y) { s = MatMul(q, k) p = Softmax(s) y = MatMul(p, v) }""",
    "mean": "(float[3,5,7,9] x) => (float[3,5,1,1] y) { y = GlobalAveragePool(x) }",
    "largest": "(float[3,41,7] x) => (float[3,41] y) { y = ReduceMax<keepdims=0>(x, axis) }",
    "elementwise": """(float[3,17,5] x, float[17,1] b) => (float[3,17,5] y)
        { s = Add(x, b) t = Sigmoid(s) u = Mul(t, s) v = Erf(u) y = Tanh(v) }""",
    "transpose": """(float[3,17,5] x) => (float[5,3,17] y)
        { t = Transpose<perm=[2,0,1]>(x) y = Exp(t) }""",
    "max pool": """(float[1,5,11,13] x) => (float[1,5,6,7] y)
        { y = MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(x) }""",
    "average pool": """(float[1,5,11,13] x) => (float[1,5,5,6] y)
        { y = AveragePool<kernel_shape=[3,3], strides=[2,2]>(x) }""",
    "concat": """(float[2,3,5] x, float[2,4,5] z) => (float[2,7,5] y)
        { y = Concat<axis=1>(x, z) }""",
    "resize": """(float[1,3,5,7] x) => (float[1,3,10,14] y)
        { y = Resize<mode="linear">(x, , scales) }""",
}  # fmt: skip
_INITIALIZERS = {
    "largest": "<int64[1] axis = {2}>",
    "resize": "<float[4] scales = {1.0, 1.0, 2.0, 2.0}>",
}


def _model(kind: str) -> onnx.ModelProto:
    signature, body = _GRAPHS[kind].split("{", 1)
    text = f"{signature} {_INITIALIZERS.get(kind, '')} {{ {body}"
    return parser.parse_model(f'<ir_version: 10, opset_import: ["": 21]> net {text}')


def _inputs(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        value.name: generator.normal(
            size=[dim.dim_value for dim in value.type.tensor_type.shape.dim]
        ).astype(np.float32)
        for value in model.graph.input
    }


@pytest.mark.parametrize("kind", _GRAPHS)
def test_a_kernel_computes_what_onnx_runtime_does(kind: str, run: Run) -> None:
    model = _model(kind)
    inputs = _inputs(model)
    found = run(model, inputs)
    for name, expected in reference(model, inputs).items():
        np.testing.assert_allclose(
            found[name], expected, rtol=1e-4, atol=2e-5 * float(np.abs(expected).max())
        )


def test_a_network_computes_what_onnx_runtime_does(run: Run) -> None:
    model = small_network(1)
    inputs = {"image": np.random.default_rng(1).normal(size=(1, 3, 16, 16)).astype(np.float32)}
    found = run(model, inputs)
    for name, expected in reference(model, inputs).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-5)


def test_a_closed_session_leaves_nothing_on_the_device(run: Run, gpu: ctypes.CDLL) -> None:
    before = gpu.emulated_allocations()
    model = _model(next(iter(_GRAPHS)))
    run(model, _inputs(model))
    assert gpu.emulated_allocations() == before


def _embedding() -> onnx.ModelProto:
    return parser.parse_model(
        '<ir_version: 10, opset_import: ["": 21]> net (int64[1,7] ids) => (float[1,7,2] y) '
        "<float[3,2] table = {0.0, 1.0, 2.0, 3.0, 4.0, 5.0}> { y = Gather(table, ids) }"
    )


def test_indices_are_counted_from_either_end(run: Run) -> None:
    model, ids = _embedding(), np.array([[0, 2, 1, -1, -3, 2, 0]])
    np.testing.assert_array_equal(
        run(model, {"ids": ids})["y"], reference(model, {"ids": ids})["y"]
    )


@pytest.mark.parametrize("index", [3, -4])
def test_an_index_out_of_range_is_refused_before_a_launch(index: int, run: Run) -> None:
    with pytest.raises(InputError, match=f"index {index} is outside of 3 entries"):
        run(_embedding(), {"ids": np.array([[0, 2, 1, index, 0, 0, 0]])})
