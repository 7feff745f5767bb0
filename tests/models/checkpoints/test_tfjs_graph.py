"""A frozen graph's weights are found by the operation that takes them."""

import json

import numpy as np
import pytest

from ingot.errors import ModelError
from ingot.models.checkpoints.tfjs_graph import read_layers


def read(nodes, weights):
    entries = [
        {"name": name, "shape": list(array.shape), "dtype": array.dtype.name}
        for name, array in weights.items()
    ]
    model = {
        "modelTopology": {"node": nodes},
        "weightsManifest": [{"paths": ["w"], "weights": entries}],
    }
    content = b"".join(array.tobytes() for array in weights.values())
    return read_layers(json.dumps(model).encode(), lambda _: content, "net")


def numbered(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize(
    ("op", "kernel", "expected"),
    [
        ("_FusedConv2D", numbered(3, 3, 2, 4), numbered(3, 3, 2, 4).transpose(3, 2, 0, 1)),
        ("Conv2D", numbered(1, 1, 2, 4), numbered(1, 1, 2, 4).transpose(3, 2, 0, 1)),
        (
            "FusedDepthwiseConv2dNative",
            numbered(3, 3, 5, 1),
            numbered(3, 3, 5, 1).transpose(2, 3, 0, 1),
        ),
        ("_FusedMatMul", numbered(2, 3), numbered(2, 3).T),
    ],
)
def test_kernel_and_bias_lie_under_the_operations_name(op, kernel, expected):
    nodes = [
        {"name": "x", "op": "Placeholder"},
        {"name": "layer", "op": op, "input": ["x", "Func/_1", "Func/_2"]},
        {"name": "act", "op": "Sigmoid", "input": ["layer"]},
    ]
    bias = numbered(4)

    layers = read(nodes, {"Func/_2": bias, "Func/_1": kernel})

    assert list(layers) == ["layer"]
    np.testing.assert_array_equal(layers["layer"][0], expected)
    np.testing.assert_array_equal(layers["layer"][1], bias)


def test_a_depthwise_multiplier_becomes_more_output_channels_of_each_group():
    kernel = numbered(1, 1, 3, 2)  # h, w, channels, multiplier
    node = {"name": "dw", "op": "DepthwiseConv2dNative", "input": ["x", "k"]}

    (moved,) = read([node], {"k": kernel})["dw"]

    assert moved.shape == (6, 1, 1, 1)
    assert moved.reshape(-1).tolist() == [0, 1, 2, 3, 4, 5]


def test_a_kernel_that_is_computed_is_refused():
    node = {"name": "conv", "op": "Conv2D", "input": ["x", "computed"]}

    with pytest.raises(ModelError, match=r"'computed'.*'conv'"):
        read([node], {})
