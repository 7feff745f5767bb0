"""Normalizations keep their digits where the mean is large against the deviation."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.targets.cpu.conftest import Compile, Run

EPSILON = 1e-5


def contents(kind: str, shape: tuple[int, ...]) -> np.ndarray:
    generator = np.random.default_rng(0)
    normal = generator.normal(size=shape).astype(np.float32)
    if kind == "normal":
        return normal
    if kind == "offset":
        return normal + np.float32(1000)
    if kind == "level":  # a bright, flat image
        return (4000 + generator.integers(0, 4, shape)).astype(np.float32)
    if kind == "constant":
        return np.full(shape, 1234.567, np.float32)
    normal += np.float32(1000)  # the first pixel is far from all others
    normal[..., 0, 0] = 0
    return normal


# Largest errors allowed, in deviations. That of float32 at the mean is what there is at least.
CONTENTS = {"normal": 2e-6, "offset": 1e-4, "level": 3e-4, "constant": 0.0, "corner": 2e-5}


def normalized(image: np.ndarray, groups: int) -> np.ndarray:
    """In float64."""
    rows = image.astype(np.float64).reshape(image.shape[0], groups, -1)
    centred = rows - rows.mean(axis=2, keepdims=True)
    variance = (centred**2).mean(axis=2, keepdims=True)
    return (centred / np.sqrt(variance + EPSILON)).reshape(image.shape)


@dataclasses.dataclass(frozen=True)
class Layer:
    channels: int
    groups: int
    size: tuple[int, ...]
    batch: int | str = 2

    @property
    def shape(self) -> tuple[int, ...]:
        return (2, self.channels, *self.size)

    def model(self, *, convolved: bool, opset: int = 21) -> onnx.ModelProto:
        """The norm with a factor and a summand per channel, behind a convolution if asked for."""
        instance = self.groups == self.channels
        count = self.channels if instance or opset > 20 else self.groups
        weights = {
            "scale": np.linspace(0.5, 2, count, dtype=np.float32),
            "bias": np.linspace(-1, 1, count, dtype=np.float32),
            "ones": np.ones((self.channels, 1, *[1] * len(self.size)), np.float32),
        }
        nodes = [helper.make_node("Conv", ["x", "ones"], ["image"], group=self.channels)]
        operator = "InstanceNormalization" if instance else "GroupNormalization"
        attributes = {} if instance else {"num_groups": self.groups}
        source = "image" if convolved else "x"
        nodes = nodes if convolved else []
        nodes.append(helper.make_node(operator, [source, "scale", "bias"], ["y"], **attributes))
        shape = [self.batch, self.channels, *self.size]
        graph = helper.make_graph(
            nodes,
            "norm",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
            [numpy_helper.from_array(array, name) for name, array in weights.items()],
        )
        opsets = [helper.make_opsetid("", opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10)

    def expected(self, image: np.ndarray, *, per_group: bool = False) -> np.ndarray:
        count = self.groups if per_group else self.channels
        factors = np.linspace(0.5, 2, count).repeat(self.channels // count)
        summands = np.linspace(-1, 1, count).repeat(self.channels // count)
        along = (self.channels, *[1] * len(self.size))
        return normalized(image, self.groups) * factors.reshape(along) + summands.reshape(along)


LAYERS = {
    "instances": Layer(20, 20, (9, 11)),
    "groups": Layer(24, 4, (7, 8), batch="N"),
    "groups of a vector": Layer(64, 4, (6, 6)),
    "one group": Layer(12, 1, (7, 5)),
    "sequences": Layer(6, 3, (50,)),
    "volumes": Layer(6, 6, (3, 4, 5)),
}


# Channels are last behind a convolution of images.
LAYOUTS = [(name, False) for name in LAYERS]
LAYOUTS += [(name, True) for name, layer in LAYERS.items() if len(layer.size) == 2]


@pytest.mark.parametrize(("name", "convolved"), LAYOUTS)
def test_channel_norms(compile_for_cpu: Compile, name: str, convolved: bool) -> None:
    layer = LAYERS[name]
    compiled = compile_for_cpu(layer.model(convolved=convolved))
    for kind in CONTENTS if len(layer.size) == 2 else ("normal", "offset", "constant"):
        image = contents(kind, layer.shape)
        (found,) = compiled(image)
        tolerance = 2 * CONTENTS[kind] + 1e-6
        np.testing.assert_allclose(found, layer.expected(image), rtol=0, atol=tolerance)


def test_factors_per_group(run_on_cpu: Run) -> None:
    """As GroupNormalization was defined before opset 21."""
    layer = Layer(24, 4, (7, 8))
    image = contents("normal", layer.shape)
    (found,) = run_on_cpu(layer.model(convolved=False, opset=18), image)
    np.testing.assert_allclose(found, layer.expected(image, per_group=True), rtol=0, atol=1e-5)


def test_float16_statistics_are_float32(run_on_cpu: Run) -> None:
    shape = (2, 6, 9, 11)
    weights = [numpy_helper.from_array(np.full(6, value, np.float16), name)
               for name, value in (("scale", 1), ("bias", 0))]  # fmt: skip
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT16, shape) for name in "xy"]
    node = helper.make_node("InstanceNormalization", ["x", "scale", "bias"], ["y"])
    graph = helper.make_graph([node], "norm", values[:1], values[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    image = (contents("normal", shape) * 4 + 200).astype(np.float16)
    (found,) = run_on_cpu(model, image)
    np.testing.assert_allclose(found, normalized(image, 6), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("shape", [(2, 6, 50), (2, 6, 7, 9), (1, 3, 4, 5, 6)])
@pytest.mark.parametrize("operator", ["LayerNormalization", "RMSNormalization"])
@pytest.mark.parametrize("axis", [1, -2])
def test_norms_over_several_axes_behind_a_convolution(
    run_on_cpu: Run, operator: str, shape: tuple[int, ...], axis: int
) -> None:
    """The scale belongs to channels that lie first, whatever the layout of the image."""
    generator = np.random.default_rng(0)
    first, ones = axis % len(shape), [shape[1], *[1] * (len(shape) - 2)]
    weights = {
        "kernel": np.eye(shape[1], dtype=np.float32).reshape(shape[1], *ones),
        "scale": generator.normal(size=shape[first:]).astype(np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "kernel"], ["image"]),
            helper.make_node(operator, ["image", "scale"], ["y"], axis=axis),
        ],
        "norm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape[1:]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", *shape[1:]])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    image = contents("normal", shape)
    wide, axes = image.astype(np.float64), tuple(range(first, len(shape)))
    if operator == "LayerNormalization":
        wide = wide - wide.mean(axes, keepdims=True)
    expected = wide / np.sqrt((wide**2).mean(axes, keepdims=True) + EPSILON) * weights["scale"]
    (found,) = run_on_cpu(model, image)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_mean_and_variance(run_on_cpu: Run) -> None:
    shape = (3, 5, 6, 7)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in "xy")
    node = helper.make_node("MeanVarianceNormalization", ["x"], ["y"])
    graph = helper.make_graph([node], "norm", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    for kind, tolerance in CONTENTS.items():
        data = contents(kind, shape)
        wide = data.astype(np.float64)
        centred = wide - wide.mean((0, 2, 3), keepdims=True)
        expected = centred / (np.sqrt((centred**2).mean((0, 2, 3), keepdims=True)) + 1e-9)
        (found,) = run_on_cpu(model, data)
        if kind == "constant":
            expected = np.zeros(shape)
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance + 1e-6, err_msg=kind)


def layer_norm(outputs: int, *, bias: bool, axis: int = -1) -> onnx.ModelProto:
    shape = (4, 6, 20)
    weights = {name: np.linspace(0.5, 2, 20, dtype=np.float32) for name in ("scale", "bias")}
    if axis == 1:
        weights = {name: np.tile(array, (6, 1)) for name, array in weights.items()}
    inputs = ["x", "scale", "bias"] if bias else ["x", "scale"]
    names = ["y", "mean", "inverse"][:outputs]
    node = helper.make_node("LayerNormalization", inputs, names, axis=axis)
    graph = helper.make_graph(
        [node],
        "norm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names],
        [numpy_helper.from_array(weights[name], name) for name in inputs[1:]],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("outputs", [1, 3])
def test_layer_norm(run_on_cpu: Run, outputs: int, bias: bool, axis: int) -> None:
    data = contents("offset", (4, 6, 20))
    axes = (1, 2) if axis == 1 else (2,)
    wide = data.astype(np.float64)
    mean = wide.mean(axes, keepdims=True)
    inverse = 1 / np.sqrt(wide.var(axes, keepdims=True) + EPSILON)
    factors = np.linspace(0.5, 2, 20)
    expected = [(wide - mean) * inverse * factors + (factors if bias else 0), mean, inverse]
    found = run_on_cpu(layer_norm(outputs, bias=bias, axis=axis), data)
    for result, wanted in zip(found, expected, strict=False):
        np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=4e-4)
    assert len(found) == outputs
