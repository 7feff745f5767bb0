"""Small networks, written layer by layer, and whether compiled code agrees with ONNX Runtime.

network = Network()
x = network.input(1, 8, 13, 13)
c = network.apply("Conv", x, network.weight(16, 8, 3, 3), pads=[1] * 4)
network.output(network.apply("Relu", c))
assert_agrees(compile_for_cpu(network.model()), network)
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ingot.reference.session import Reference
from tests.targets.cpu.conftest import Compiled

# The largest difference from ONNX Runtime that rounding explains, in parts of the largest magnitude
# of the outputs: both add the same products, in different orders.
ROUNDING = 1e-5


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    """Normally distributed values of unit variance."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class Network:
    """A model while it is written; values go by name."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._inputs: dict[str, tuple[int | str, ...]] = {}
        self._weights: dict[str, np.ndarray] = {}
        self._outputs: list[str] = []
        self._count = 0

    def input(self, *shape: int | str) -> str:
        """A float32 input; a dimension may be symbolic."""
        name = self._name("input")
        self._inputs[name] = shape
        return name

    def constant(self, array: np.ndarray | float) -> str:
        name = self._name("constant")
        self._weights[name] = np.asarray(array, None if isinstance(array, np.ndarray) else "f")
        return name

    def weight(self, *shape: int, terms: int | None = None) -> str:
        """Random weights, so scaled that sums of ``terms`` products have unit variance.

        By default the terms are all axes but the first, as in a convolution.
        """
        scale = np.float32(np.sqrt(math.prod(shape[1:]) if terms is None else terms))
        return self.constant(normal(*shape, seed=100 + self._count) / scale)

    def apply(self, operator: str, *inputs: str, **attributes: object) -> str:
        return self.apply_many(operator, 1, *inputs, **attributes)[0]

    def apply_many(
        self, operator: str, outputs: int, *inputs: str, **attributes: object
    ) -> list[str]:
        """Applies an operator of several outputs."""
        name = self._name(operator)
        names = [name, *(f"{name}_{index}" for index in range(1, outputs))]
        self._nodes.append(helper.make_node(operator, inputs, names, name, **attributes))
        return names

    def output(self, name: str) -> None:
        self._outputs.append(name)

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(
            self._nodes,
            "network",
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                for name, shape in self._inputs.items()
            ],
            [helper.make_empty_tensor_value_info(name) for name in self._outputs],
            [numpy_helper.from_array(array, name) for name, array in self._weights.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        return onnx.shape_inference.infer_shapes(model)

    def random_inputs(self, **sizes: int) -> dict[str, np.ndarray]:
        """Random inputs, given the sizes of the symbolic dimensions."""
        return {
            name: normal(*(sizes[s] if isinstance(s, str) else s for s in shape), seed=seed)
            for seed, (name, shape) in enumerate(self._inputs.items())
        }

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind.lower()}_{self._count}"


def assert_agrees(compiled: Compiled, network: Network, *, threads: int = 2, **sizes: int) -> None:
    """Asserts that outputs are ONNX Runtime's up to rounding.

    Sums of products have unit variance (see ``Network.weight``): rounding is on the scale of one,
    or of the largest output, even where cancellation or an activation leaves smaller results.
    """
    inputs = network.random_inputs(**sizes)
    reference = Reference(network.model())
    expected = reference.run(inputs)
    results = compiled(*inputs.values(), threads=threads)
    for (name, right), actual in zip(expected.items(), results, strict=True):
        assert (actual.dtype, actual.shape) == (right.dtype, right.shape), name
        assert np.isfinite(right).all(), f"{name}: not a test"
        wrong = np.abs(actual.astype(np.float64) - right.astype(np.float64)).max(initial=0)
        scale = max(1.0, float(np.abs(right.astype(np.float64)).max(initial=0)))
        assert wrong <= ROUNDING * scale, f"{name} {right.shape} differs by {wrong:.3g}"


def assert_same_bits_on_threads(compiled: Compiled, network: Network, **sizes: int) -> None:
    """Asserts that the only output has the same bits on any number of threads, and each time."""
    inputs = network.random_inputs(**sizes).values()
    (once,) = compiled(*inputs, threads=1)
    for threads in (1, 2, 2, 4):
        (again,) = compiled(*inputs, threads=threads)
        np.testing.assert_array_equal(again.view(np.uint8), once.view(np.uint8))
