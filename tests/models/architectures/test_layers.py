"""A graph is built of named layers, and takes exactly the weights of its checkpoint."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingot.errors import ModelError
from ingot.models.architectures.layers import LayerGraph


def run(model, **inputs):
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, inputs)[0]


def vector_graph(weights, size=3):
    graph = LayerGraph("net", weights)
    return graph, graph.input("x", ir.DataType.FLOAT, ("N", size))


def test_names_follow_the_layers():
    weights = {"block.fc.weight": np.ones((2, 3), np.float32), "block.fc.bias": np.zeros(2, "f4")}
    graph, x = vector_graph(weights)

    model = graph.finish(graph.linear(x, "block.fc"), "y", ("N", 2))

    assert [node.name for node in model.graph] == ["block.fc"]
    assert list(model.graph.initializers) == ["block.fc.weight", "block.fc.bias"]
    assert [value.name for value in model.graph.outputs] == ["y"]


def test_a_missing_weight_is_named():
    graph, x = vector_graph({})

    with pytest.raises(ModelError, match=r"no weight 'fc\.weight', which net needs"):
        graph.linear(x, "fc")


def test_a_weight_without_use_is_named():
    graph, x = vector_graph({"extra.weight": np.zeros(1)})

    with pytest.raises(ModelError, match=r"net has no use for .* 'extra\.weight'"):
        graph.finish(graph.op("Relu", [x], "relu"), "y", ("N", 3))


@settings(max_examples=25, deadline=None)
@example([0.0, 0.0, -14.799562454223633])
@given(st.lists(st.floats(-20, 20, width=32), min_size=3, max_size=3))
def test_activations_compute_what_they_are_called(values):
    x_value = np.array([values], np.float32)
    expected = {
        "relu6": np.clip(x_value, 0, 6),
        "silu": x_value / (1 + np.exp(-x_value.astype(np.float64))),
    }
    for name, result in expected.items():
        graph, x = vector_graph({})
        model = graph.finish(getattr(graph, name)(x, name), "y", ("N", 3))
        # ONNX Runtime's sigmoid is off by up to 1e-7, and here multiplied by up to 20.
        np.testing.assert_allclose(run(model, x=x_value), result, rtol=1e-5, atol=4e-6)


def test_linear_and_dense_compute_the_same_of_pytorchs_layout():
    generator = np.random.default_rng(0)
    weights = {
        "fc.weight": generator.standard_normal((2, 3), dtype=np.float32),
        "fc.bias": generator.standard_normal(2, dtype=np.float32),
    }
    x_value = generator.standard_normal((4, 3), dtype=np.float32)
    expected = x_value @ weights["fc.weight"].T + weights["fc.bias"]

    for layer in ("linear", "dense"):
        graph, x = vector_graph(weights)
        model = graph.finish(getattr(graph, layer)(x, "fc"), "y", ("N", 2))
        np.testing.assert_allclose(run(model, x=x_value), expected, rtol=1e-5, atol=1e-6)


def test_pads_before_and_after_are_told_apart():
    weights = {"conv.weight": np.ones((1, 1, 2, 2), np.float32)}
    image = np.arange(4, dtype=np.float32).reshape(1, 1, 2, 2)

    def convolved(pads):
        graph = LayerGraph("net", weights)
        x = graph.input("x", ir.DataType.FLOAT, ("N", 1, 2, 2))
        model = graph.finish(graph.conv(x, "conv", stride=2, pads=pads), "y", ("N", 1, "h", "w"))
        return run(model, x=image).reshape(-1).tolist()

    assert convolved((0, 1)) == [6.0]
    assert convolved((1, 0)) == [0.0]


def test_batch_norm_uses_its_statistics_and_epsilon():
    weights = {
        "bn.weight": np.array([2.0], np.float32),
        "bn.bias": np.array([1.0], np.float32),
        "bn.running_mean": np.array([3.0], np.float32),
        "bn.running_var": np.array([0.0], np.float32),
    }
    graph, x = vector_graph(weights, size=1)
    model = graph.finish(graph.batch_norm(x, "bn", epsilon=0.25), "y", ("N", 1))

    assert run(model, x=np.array([[4.0]], np.float32)).item() == pytest.approx(
        (4 - 3) / 0.5 * 2 + 1
    )
