"""Random networks of images: residuals, concats, grouped and depthwise layers, gates, norms."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper, shape_inference

SIZE = 4
BLOCKS = ("conv", "grouped", "depthwise", "norm", "residual", "concat", "gate", "activation")


class Network:
    """A network that is built block by block; its values are images of ``SIZE`` by ``SIZE``."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.channels = {"x": 3}

    def add(self, op_type: str, inputs: list[str], channels: int, **attributes: object) -> str:
        name = f"v{len(self.nodes)}"
        node = helper.make_node(op_type, inputs, [name], name=f"{op_type}_{name}", **attributes)
        self.nodes.append(node)
        self.channels[name] = channels
        return name

    def weight(self, *shape: int, positive: bool = False) -> str:
        array = self.random.normal(size=shape).astype(np.float32)
        array = np.abs(array) + np.float32(0.5) if positive else array
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def conv(self, x: str, channels: int, kernel: int = 1, group: int = 1) -> str:
        weights = self.weight(channels, self.channels[x] // group, kernel, kernel)
        pads = [kernel // 2] * 4
        bias = self.weight(channels)
        return self.add("Conv", [x, weights, bias], channels, group=group, pads=pads)

    def block(self, kind: str, x: str) -> str:
        channels = self.channels[x]
        if kind == "conv":
            return self.conv(x, int(self.random.integers(2, 9)), kernel=3)
        if kind == "grouped":
            return self.conv(self.conv(x, 6), 12, kernel=3, group=3)
        if kind == "depthwise":
            return self.conv(x, 2 * channels, kernel=3, group=channels)
        if kind == "norm":
            statistics = [self.weight(channels, positive=i == 3) for i in range(4)]
            return self.add("BatchNormalization", [x, *statistics], channels)
        if kind == "residual":
            inner = self.add("Relu", [self.conv(x, 5)], 5)
            return self.add("Add", [x, self.conv(inner, channels)], channels)
        if kind == "concat":
            return self.add("Concat", [x, self.conv(x, 4)], channels + 4, axis=1)
        if kind == "gate":
            pooled = self.conv(self.add("GlobalAveragePool", [x], channels), 4)
            gate = self.conv(self.add("Relu", [pooled], 4), channels)
            return self.add("Mul", [x, self.add("HardSigmoid", [gate], channels)], channels)
        return self.add("HardSwish", [x], channels)

    def finish(self, last: str) -> ir.Model:
        flat = self.add("Flatten", [last], 0)
        weights = [self.weight(5, self.channels[last] * SIZE * SIZE), self.weight(5)]
        self.nodes.append(
            helper.make_node(
                "Gemm",
                [flat, *weights],
                ["y"],
                name="head",
                transB=1,
            )
        )
        graph = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])],
            self.weights,
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        return ir.from_proto(shape_inference.infer_shapes(proto, strict_mode=True))


def network(kinds: list[str], seed: int = 0) -> ir.Model:
    """A network of blocks one behind the other."""
    made = Network(seed)
    last = made.conv("x", 6, kernel=3)
    for kind in kinds:
        last = made.block(kind, last)
    return made.finish(last)


networks = st.builds(
    network, st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=6), st.integers(0, 1000)
)


WIDTH, STEPS = 12, 5
SEQUENCE_BLOCKS = ("feed-forward", "attention", "norm")


class Sequences(Network):
    """A network of sequences: attention with heads, feed-forward layers, layer norms, residuals."""

    def dense(self, x: str, channels: int) -> str:
        made = self.add("MatMul", [x, self.weight(self.channels[x], channels)], channels)
        return self.add("Add", [self.weight(channels), made], channels)

    def integers(self, *values: int) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def target(self, x: str, *sizes: int, computed: bool) -> str:
        """What a Reshape is given: constants, or the first two sizes of another tensor."""
        if not computed:
            return self.integers(0, 0, *sizes)
        shape = self.add("Shape", [x], 0)
        read = [self.add("Gather", [shape, self.integers(axis)], 0, axis=0) for axis in (0, 1)]
        return self.add("Concat", [*read, *map(self.integers, sizes)], 0, axis=0)

    def heads(self, x: str, count: int, perm: list[int], *, computed: bool) -> str:
        wide = self.dense(x, WIDTH)
        target = self.target(wide, count, WIDTH // count, computed=computed)
        return self.add("Transpose", [self.add("Reshape", [wide, target], 0)], 0, perm=perm)

    def attention(self, x: str) -> str:
        computed, count = bool(self.random.integers(2)), int(self.random.choice([2, 3, 4]))
        q = self.heads(x, count, [0, 2, 1, 3], computed=computed)
        k = self.heads(x, count, [0, 2, 3, 1], computed=computed)
        v = self.heads(x, count, [0, 2, 1, 3], computed=computed)
        scores = self.add("Softmax", [self.add("MatMul", [q, k], 0)], 0, axis=-1)
        found = self.add("Transpose", [self.add("MatMul", [scores, v], 0)], 0, perm=[0, 2, 1, 3])
        target = self.target(found, WIDTH, computed=computed)
        return self.dense(self.add("Reshape", [found, target], WIDTH), self.channels[x])

    def block(self, kind: str, x: str) -> str:
        channels = self.channels[x]
        if kind == "norm":
            scales = [self.weight(channels), self.weight(channels)]
            return self.add("LayerNormalization", [x, *scales], channels)
        if kind == "attention":
            inner = self.attention(x)
        else:
            inner = self.dense(self.add("Gelu", [self.dense(x, 9)], 9), channels)
        return self.add("Add", [x, inner], channels)


def sequence_network(kinds: list[str], seed: int = 0) -> ir.Model:
    """A network of sequences, of blocks one behind the other; its batch is open."""
    made = Sequences(seed)
    made.channels["x"] = 6
    last = made.dense("x", 7)
    for kind in kinds:
        last = made.block(kind, last)
    made.nodes.append(helper.make_node("MatMul", [last, made.weight(7, 5)], ["y"], name="head"))
    graph = helper.make_graph(
        made.nodes,
        "sequences",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", STEPS, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", STEPS, 5])],
        made.weights,
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return ir.from_proto(shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True))


sequence_networks = st.builds(
    sequence_network,
    st.lists(st.sampled_from(SEQUENCE_BLOCKS), min_size=1, max_size=4),
    st.integers(0, 1000),
)
