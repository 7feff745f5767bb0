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
