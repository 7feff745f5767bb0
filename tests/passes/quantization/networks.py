"""Small float networks with each kind of layer, and data to calibrate them with."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ingot.calibration.collection import Calibration
from ingot.reference.session import Reference
from tests.graphs import parse


def model(signature: str, body: str, weights: dict[str, np.ndarray], opset: int = 23) -> ir.Model:
    """A model of ONNX's textual syntax, with initializers."""
    declared = ", ".join(
        f"{_TYPES[array.dtype.name]}[{','.join(map(str, array.shape))}] {name}"
        for name, array in weights.items()
    )
    inputs, _, outputs = signature.partition("=>")
    separator = ", " if declared else ""
    text = (
        f'<ir_version: 10, opset_import: ["": {opset}]> g ({inputs.strip()[1:-1]}{separator}'
        f"{declared}) => {outputs} {{ {body} }}"
    )
    found = parse(text)
    for name, array in weights.items():
        value = next(value for value in found.graph.inputs if value.name == name)
        value.const_value = ir.tensor(array, name=name)
        found.graph.inputs.remove(value)
        found.graph.register_initializer(value)
    for index, node in enumerate(found.graph):
        node.name = node.name or f"{node.op_type.lower()}{index}"
    return found


_TYPES = {"float32": "float", "int64": "int64", "uint8": "uint8", "bool": "bool"}


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """Seeded normal values."""
    values = np.random.default_rng(seed).normal(size=shape) * scale
    return values.astype(np.float32)


def residual_network() -> ir.Model:
    """Two convolutions around a residual sum, pooling and a dense layer: [N,3,8,8] to [N,5]."""
    weights = {
        "w1": normal(8, 3, 3, 3, seed=1, scale=0.3),
        "b1": normal(8, seed=2, scale=0.2),
        "w2": normal(8, 8, 3, 3, seed=3, scale=0.15),
        "b2": normal(8, seed=4, scale=0.2),
        "w3": normal(8, 1, 3, 3, seed=5, scale=0.4),
        "b3": normal(8, seed=6, scale=0.2),
        "w4": normal(5, 8, seed=7),
        "b4": normal(5, seed=8),
    }
    body = (
        "a = Conv<pads=[1,1,1,1]>(x, w1, b1) r = Relu(a) c = Conv<pads=[1,1,1,1]>(r, w2, b2)"
        " s = Add(c, r) t = Relu(s) d = Conv<pads=[1,1,1,1], group=8>(t, w3, b3)"
        " h = HardSwish(d) p = GlobalAveragePool(h) f = Flatten(p) y = Gemm<transB=1>(f, w4, b4)"
    )
    return model("(float[N,3,8,8] x) => (float[N,5] y)", body, weights)


def images(count: int = 16, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """Inputs of the residual network."""
    generator = np.random.default_rng(seed)
    return [{"x": generator.normal(size=(1, 3, 8, 8)).astype(np.float32)} for _ in range(count)]


def calibrated(pass_, data=None):
    """A pass with its data."""
    pass_.calibrate_with(Calibration(images() if data is None else data))
    return pass_


def sqnr(before: ir.Model, after: ir.Model, inputs: list[dict[str, np.ndarray]]) -> float:
    """Decibels of the first output's signal over the difference, over all inputs."""
    left, right = Reference(before), Reference(after)
    signal = noise = 0.0
    for one in inputs:
        expected, actual = (next(iter(r.run(one).values())) for r in (left, right))
        signal += float((expected.astype(np.float64) ** 2).sum())
        noise += float(((actual - expected).astype(np.float64) ** 2).sum())
    return float(10 * np.log10(signal / noise))


def readers(graph: ir.Graph, op_type: str) -> list[ir.Node]:
    """The nodes of one operator, in order."""
    return [node for node in graph if node.op_type == op_type]
