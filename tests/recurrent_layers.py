"""LSTM, GRU and RNN nodes of any form with seeded weights, and what ONNX Runtime makes of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ingot.reference.session import Reference

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
ORDER = ("X", "W", "R", "B", "lengths", "initial_h", "initial_c", "P")
WEIGHTS = ("W", "R", "B", "P")


@dataclasses.dataclass(frozen=True)
class Layer:
    """A model of one recurrent node.

    Attributes:
        cell: The operator.
        hidden: Hidden units.
        inputs: Features of an input.
        given: The optional inputs that it has, of ``ORDER``.
        symbols: Names of the step and the batch dimension where they are open.
        constant: Whether weights are constants; else they are inputs.
        outputs: Names of the outputs, "" for one that is left out.
        attributes: ONNX's attributes, but for the hidden size.
    """

    cell: str
    hidden: int = 5
    inputs: int = 3
    given: Sequence[str] = ("B",)
    symbols: tuple[str, str] | None = None
    constant: bool = True
    outputs: Sequence[str] = ("Y", "Y_h", "Y_c")
    attributes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def directions(self) -> int:
        return 2 if self.attributes.get("direction") == "bidirectional" else 1

    @property
    def batch_first(self) -> bool:
        return bool(self.attributes.get("layout"))

    @property
    def named(self) -> list[str]:
        """The outputs that the node has, those left out included."""
        return list(self.outputs)[: 3 if self.cell == "LSTM" else 2]

    def arrays(self, steps: int, batch: int, seed: int = 0) -> dict[str, np.ndarray]:
        """Inputs and weights; sums of a gate's products have unit variance or less."""
        generator = np.random.default_rng(seed)
        rows = GATES[self.cell] * self.hidden
        state = (batch, self.directions) if self.batch_first else (self.directions, batch)
        shapes = {
            "X": (batch, steps, self.inputs) if self.batch_first else (steps, batch, self.inputs),
            "W": (self.directions, rows, self.inputs),
            "R": (self.directions, rows, self.hidden),
            "B": (self.directions, 2 * rows),
            "initial_h": (*state, self.hidden),
            "initial_c": (*state, self.hidden),
            "P": (self.directions, 3 * self.hidden),
        }
        arrays = {
            name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()
        }
        arrays["W"] /= np.float32(np.sqrt(self.inputs))
        arrays["R"] /= np.float32(np.sqrt(self.hidden))
        arrays["lengths"] = generator.integers(1, steps + 1, batch).astype(np.int32)
        present = ("X", "W", "R", *self.given)
        return {name: arrays[name] for name in ORDER if name in present}

    def model(self, steps: int = 5, batch: int = 2, seed: int = 0) -> onnx.ModelProto:
        arrays = self.arrays(steps, batch, seed)
        names = [name if name in arrays else "" for name in ORDER]
        while not names[-1]:
            names.pop()
        node = helper.make_node(
            self.cell, names, self.named, "layer", hidden_size=self.hidden, **self.attributes
        )
        inputs = [name for name in arrays if not (self.constant and name in WEIGHTS)]
        opened = dict(zip((steps, batch), self.symbols or (), strict=False))
        graph = helper.make_graph(
            [node],
            "layer",
            [
                helper.make_tensor_value_info(
                    name,
                    TensorProto.INT32 if name == "lengths" else TensorProto.FLOAT,
                    arrays[name].shape
                    if name in WEIGHTS
                    else [opened.get(size, size) for size in arrays[name].shape],
                )
                for name in inputs
            ],
            [
                helper.make_tensor_value_info(n, TensorProto.FLOAT, [None] * (4 if n == "Y" else 3))
                for n in self.named
                if n
            ],
            [numpy_helper.from_array(arrays[n], n) for n in arrays if n not in inputs],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)

    def feed(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays that are inputs."""
        return {n: a for n, a in arrays.items() if not (self.constant and n in WEIGHTS)}

    def expected(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What ONNX Runtime computes, which knows batches after steps alone."""
        attributes = {name: given for name, given in self.attributes.items() if name != "layout"}
        same = dataclasses.replace(
            self, attributes=attributes, symbols=None, constant=False, outputs=ORDER_OF_OUTPUTS
        )
        moved = dict(arrays)
        if self.batch_first:
            for name in ("X", "initial_h", "initial_c"):
                if name in moved:
                    moved[name] = np.ascontiguousarray(moved[name].swapaxes(0, 1))
        steps, batch = moved["X"].shape[:2]
        results = Reference(same.model(steps, batch)).run(moved)
        if self.batch_first:
            results["Y"] = results["Y"].transpose(2, 0, 1, 3)
            for name in ("Y_h", "Y_c"):
                if name in results:
                    results[name] = results[name].swapaxes(0, 1)
        return {name: results[name] for name in self.named if name}


ORDER_OF_OUTPUTS = ("Y", "Y_h", "Y_c")
