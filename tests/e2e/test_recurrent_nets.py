"""Networks around recurrent layers as exporters write them: a text recognizer, a voice detector.

Weights are seeded. Both are compiled with sizes fixed and open, and agree with ONNX Runtime.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ingot.compiler.build import compile_model
from ingot.reference.session import Reference

HIDDEN = 32


class Net:
    """A model while it is written."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def apply(self, operator: str, *inputs: str, outputs: int = 1, **attributes: object) -> str:
        name = f"{operator.lower()}_{len(self.nodes)}"
        names = [name, *(f"{name}_{number}" for number in range(1, outputs))]
        self.nodes.append(helper.make_node(operator, inputs, names, name, **attributes))
        return name

    def constant(self, value: object) -> str:
        name = f"constant_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weight(self, *shape: int) -> str:
        terms = int(np.prod(shape[1:])) if len(shape) != 3 else shape[2]
        values = np.random.default_rng(len(self.weights)).normal(size=shape) / np.sqrt(terms)
        return self.constant(values.astype(np.float32))

    def dimension(self, value: str, axis: int) -> str:
        shape = self.apply("Shape", value)
        return self.apply(
            "Unsqueeze",
            self.apply("Gather", shape, self.constant(np.int64(axis)), axis=0),
            self.constant([0]),
        )

    def zeros(self, directions: int, batch: str) -> str:
        """The first state, whose size is computed from the input's."""
        sizes = [self.constant([directions]), batch, self.constant([HIDDEN])]
        shape = self.apply("Concat", *sizes, axis=0)
        return self.apply("ConstantOfShape", shape)

    def both_ways(self, x: str, inputs: int) -> str:
        """A bidirectional LSTM over [steps, batch, inputs], the directions joined."""
        weights = [self.weight(2, 4 * HIDDEN, inputs), self.weight(2, 4 * HIDDEN, HIDDEN)]
        bias = self.weight(2, 8 * HIDDEN)
        state = self.zeros(2, self.dimension(x, 1))
        y = self.apply(
            "LSTM", x, *weights, bias, "", state, state, outputs=3, hidden_size=HIDDEN,
            direction="bidirectional",
        )  # fmt: skip
        apart = self.apply("Transpose", y, perm=[0, 2, 1, 3])
        return self.apply("Reshape", apart, self.constant([0, 0, -1]))

    def linear(self, x: str, inputs: int, outputs: int) -> str:
        product = self.apply("MatMul", x, self.weight(inputs, outputs))
        return self.apply("Add", product, self.weight(outputs))

    def model(self, inputs: dict[str, list[int | str]], outputs: dict[str, str]) -> onnx.ModelProto:
        nodes = [*self.nodes]
        for name, value in outputs.items():
            nodes.append(helper.make_node("Identity", [value], [name], name))
        graph = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        return onnx.shape_inference.infer_shapes(model)


def text_recognizer(batch: int | str, width: int | str) -> onnx.ModelProto:
    """CRNN (Shi et al., 2015): convolutions to one row, two bidirectional LSTMs, a linear layer."""
    net = Net()
    x, channels = "image", 1
    for features, pool in [(16, 2), (32, 2), (32, 1), (48, 1)]:
        weights = net.weight(features, channels, 3, 3)
        x = net.apply("Conv", x, weights, net.weight(features), pads=[1] * 4)
        x = net.apply("Relu", x)
        x = net.apply("MaxPool", x, kernel_shape=[2, pool], strides=[2, pool])
        channels = features
    x = net.apply("Conv", x, net.weight(HIDDEN, channels, 2, 2), net.weight(HIDDEN))
    x = net.apply("Squeeze", x, net.constant([2]))
    x = net.apply("Transpose", x, perm=[2, 0, 1])
    x = net.linear(net.both_ways(x, HIDDEN), 2 * HIDDEN, HIDDEN)
    x = net.linear(net.both_ways(x, HIDDEN), 2 * HIDDEN, 37)
    y = net.apply("LogSoftmax", x, axis=2)
    return net.model({"image": [batch, 1, 32, width]}, {"characters": y})


def voice_detector(batch: int | str, samples: int | str) -> onnx.ModelProto:
    """A spectrum by convolution, an encoder, an LSTM whose state comes in and goes out."""
    net = Net()
    x = net.apply("Unsqueeze", "audio", net.constant([1]))
    spectrum = net.apply("Conv", x, net.weight(66, 1, 64), strides=[32])
    parts = [
        net.apply("Slice", spectrum, net.constant([start]), net.constant([end]), net.constant([1]))
        for start, end in ((0, 33), (33, 66))
    ]
    two = net.constant(np.float32(2))
    power = net.apply("Add", *(net.apply("Pow", part, two) for part in parts))
    x = net.apply("Sqrt", power)
    for inputs, outputs in ((33, 32), (32, HIDDEN)):
        x = net.apply("Conv", x, net.weight(outputs, inputs, 3), net.weight(outputs), pads=[1, 1])
        x = net.apply("Relu", x)
    x = net.apply("Transpose", x, perm=[2, 0, 1])
    weights = [net.weight(1, 4 * HIDDEN, HIDDEN), net.weight(1, 4 * HIDDEN, HIDDEN)]
    y = net.apply(
        "LSTM", x, *weights, net.weight(1, 8 * HIDDEN), "", "h", "c", outputs=3, hidden_size=HIDDEN
    )
    steps = net.apply("Squeeze", y, net.constant([1]))
    logits = net.linear(net.apply("Relu", steps), HIDDEN, 1)
    speech = net.apply("ReduceMean", net.apply("Sigmoid", logits), axes=[0])
    inputs: dict[str, list[int | str]] = {
        "audio": [batch, samples],
        "h": [1, batch, HIDDEN],
        "c": [1, batch, HIDDEN],
    }
    return net.model(inputs, {"speech": speech, "h_next": f"{y}_1", "c_next": f"{y}_2"})


def inputs_of(model: onnx.ModelProto, **sizes: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        value.name: generator.normal(
            size=[d.dim_value or sizes[d.dim_param] for d in value.type.tensor_type.shape.dim]
        ).astype(np.float32)
        for value in model.graph.input
    }


NETS = {
    "text": (text_recognizer, (2, 64), [{"N": 1, "S": 32}, {"N": 3, "S": 100}]),
    "voice": (voice_detector, (1, 512), [{"N": 1, "S": 256}, {"N": 4, "S": 1000}]),
}


@pytest.mark.parametrize("opened", [False, True], ids=["fixed", "open"])
@pytest.mark.parametrize("name", sorted(NETS))
def test_agrees_with_onnx_runtime(tmp_path: Path, name: str, opened: bool) -> None:
    build, (batch, size), runs = NETS[name]
    model = build(*(("N", "S") if opened else (batch, size)))
    artifact = compile_model(model, tmp_path / "net.ingot")
    kernels = {
        kernel["operators"] for kernel in artifact.manifest.placement["cpu"]["kernels"].values()
    }
    assert "lstm" in kernels
    reference = Reference(model)
    with artifact.session(threads=1) as session:
        for sizes in [{"N": batch, "S": size}, *(runs if opened else [])]:
            inputs = inputs_of(model, **sizes)
            results = session.run(inputs)
            for output, expected in reference.run(inputs).items():
                np.testing.assert_allclose(results[output], expected, atol=5e-5, err_msg=output)
