"""Random layers that multiply matrices: fully connected ones, attention, layers over time."""

from __future__ import annotations

import dataclasses
import math

import onnx

from benchmarks.layer_families.sampling import Dice, by_dimension
from benchmarks.layer_families.writer import LayerWriter, Precision

_GATES = {"LSTM": 4, "GRU": 3}


@dataclasses.dataclass(frozen=True)
class Product:
    """A product with constant weights, a bias and an activation behind it.

    Attributes:
        rows: Dimensions before the last one.
        inputs: Features of a row.
        outputs: Features of the result.
        activation: An operator, or None.
    """

    rows: tuple[int, ...]
    inputs: int
    outputs: int
    activation: str | None = None
    possible = True

    @property
    def batch(self) -> int:
        """Sequences, or rows where there are none."""
        return self.rows[0]

    @property
    def work(self) -> int:
        """Multiply-adds."""
        return math.prod(self.rows) * self.inputs * self.outputs

    @property
    def elements(self) -> int:
        """Of weights, rows and result."""
        features = self.inputs + self.outputs
        return self.inputs * self.outputs + math.prod(self.rows) * features

    def __str__(self) -> str:
        """The layer in one line."""
        text = f"{by_dimension((*self.rows, self.inputs))} to {self.outputs}"
        return f"{text} {self.activation}" if self.activation else text

    def build(self, precision: Precision, seed: int) -> onnx.ModelProto:
        """The layer as a model: Gemm of a matrix, as of anything else MatMul and Add."""
        graph = LayerWriter(precision, seed)
        rows = graph.activations("x", [*self.rows, self.inputs])
        if len(self.rows) == 1:
            operands = graph.operands(
                self.outputs, self.inputs, terms=self.inputs, axis=0, outputs=self.outputs
            )
            value = graph.op("Gemm", rows, *operands, transB=1)
        else:
            (weights,) = graph.operands(
                self.inputs, self.outputs, terms=self.inputs, axis=1, outputs=self.outputs,
                bias=False,
            )  # fmt: skip
            bias = graph.weight(self.outputs, scale=0.1, name="bias")
            value = graph.op("Add", graph.op("MatMul", rows, weights), bias)
        return graph.layer(value, [*self.rows, self.outputs], activation=self.activation)


@dataclasses.dataclass(frozen=True)
class Attention:
    """Attention of queries to keys, as exporters write it: heads are split off and joined.

    Attributes:
        batch: Sequences.
        heads: Heads.
        width: Features of a head.
        queries: Length of the sequence that asks.
        keys: Length of the one that is asked.
        mask: Whether a mask is added.
    """

    batch: int
    heads: int
    width: int
    queries: int
    keys: int
    mask: bool
    possible = True

    @property
    def work(self) -> int:
        """Multiply-adds of both products."""
        return 2 * self.batch * self.heads * self.queries * self.keys * self.width

    @property
    def elements(self) -> int:
        """Of queries, keys, values and result, and of the scores."""
        features = self.heads * self.width
        scores = self.heads * self.queries * self.keys
        return self.batch * (2 * features * (self.queries + self.keys) + scores)

    def __str__(self) -> str:
        """The layer in one line."""
        text = f"{self.batch}x{self.queries} to {self.keys}, {self.heads} heads of {self.width}"
        return f"{text}, mask" if self.mask else text

    def build(self, precision: Precision, seed: int) -> onnx.ModelProto:
        """The layer as a model."""
        graph = LayerWriter(precision, seed)
        features = self.heads * self.width
        lengths = {"query": self.queries, "key": self.keys, "value": self.keys}
        query, key, value = (
            graph.reshape(
                graph.activations(name, [self.batch, length, features]),
                self.batch, length, self.heads, self.width,
            )
            for name, length in lengths.items()
        )  # fmt: skip
        scores = graph.op(
            "MatMul", graph.transpose(query, 0, 2, 1, 3), graph.transpose(key, 0, 2, 3, 1)
        )
        scores = graph.op("Mul", scores, graph.number(1.0 / math.sqrt(self.width)))
        if self.mask:
            mask = graph.activations("mask", [self.batch, 1, 1, self.keys])
            scores = graph.op("Add", scores, mask)
        weights = graph.op("Softmax", scores, axis=-1)
        mixed = graph.op("MatMul", weights, graph.transpose(value, 0, 2, 1, 3))
        joined = graph.transpose(mixed, 0, 2, 1, 3)
        shape = [self.batch, self.queries, features]
        return graph.layer(graph.reshape(joined, *shape), shape)


@dataclasses.dataclass(frozen=True)
class Recurrent:
    """An LSTM or a GRU.

    Attributes:
        operator: Which.
        steps: Length of the sequences.
        batch: Sequences.
        inputs: Features of a step.
        units: Of the state.
        directions: One or two.
        after: Whether a GRU resets after the product, as PyTorch does.
    """

    operator: str
    steps: int
    batch: int
    inputs: int
    units: int
    directions: int
    after: bool
    possible = True

    @property
    def work(self) -> int:
        """Multiply-adds."""
        step = _GATES[self.operator] * self.units * (self.inputs + self.units)
        return self.directions * self.steps * self.batch * step

    @property
    def elements(self) -> int:
        """Of weights, sequences and result."""
        weights = _GATES[self.operator] * self.units * (self.inputs + self.units + 2)
        rows = self.steps * self.batch
        return self.directions * (weights + rows * self.units) + rows * self.inputs

    def __str__(self) -> str:
        """The layer in one line."""
        text = f"{self.operator} {self.steps}x{self.batch}x{self.inputs} to {self.units}"
        return text + ", both directions" * (self.directions == 2)

    def build(self, precision: Precision, seed: int) -> onnx.ModelProto:
        """The layer as a model."""
        graph = LayerWriter(precision, seed)
        rows = graph.activations("x", [self.steps, self.batch, self.inputs])
        scale, gates = 1.0 / math.sqrt(self.units), _GATES[self.operator] * self.units
        weights = [
            graph.weight(self.directions, gates, self.inputs, scale=scale),
            graph.weight(self.directions, gates, self.units, scale=scale),
            graph.weight(self.directions, 2 * gates, scale=scale, name="bias"),
        ]
        more = {"linear_before_reset": 1} if self.operator == "GRU" and self.after else {}
        direction = "bidirectional" if self.directions == 2 else "forward"
        value = graph.op(
            self.operator, rows, *weights, hidden_size=self.units, direction=direction, **more
        )
        return graph.layer(value, [self.steps, self.directions, self.batch, self.units])


def fully_connected(dice: Dice) -> Product:
    """One row of 8 to 9,216 features, up to eight times as many or as few results."""
    activation = dice.one_of(None, "Relu", "Relu")
    inputs = dice.channels(8, 9216)
    return Product((1,), inputs, dice.near(inputs, 8), activation)


def matmul(dice: Dice) -> Product:
    """2 to 1,024 rows, or one to four sequences of as many, of 16 to 4,096 features.

    Up to four times as many or as few results.
    """
    rows = dice.size(2, 1024)
    rest = (dice.one_of(1, 1, 2, 4),) if dice.chance(0.7) else ()
    activation = dice.one_of(None, None, "Relu", "GELU", "SiLU")
    inputs = dice.channels(16, 4096)
    return Product((*rest, rows), inputs, dice.near(inputs, 4), activation)


def attention(dice: Dice) -> Attention:
    """1 to 16 heads of 16 to 128 features; half have unlike lengths, some a single query."""
    queries = dice.size(4, 1024)
    keys = queries if dice.chance(0.5) else dice.size(4, 1024)
    if dice.chance(0.15):
        queries = 1
    width = dice.one_of(16, 24, 32, 32, 48, 64, 64, 64, 80, 96, 128)
    batch = 1 if dice.chance(0.8) else dice.size(2, 8)
    return Attention(batch, dice.size(1, 16), width, queries, keys, dice.chance(0.4))


def recurrent(dice: Dice) -> Recurrent:
    """LSTM or GRU: 4 to 256 steps, 1 to 16 sequences, 8 to 512 features and units."""
    operator = dice.one_of("LSTM", "GRU")
    batch = 1 if dice.chance(0.6) else dice.size(2, 16)
    return Recurrent(
        operator, dice.size(4, 256), batch, dice.channels(8, 512), dice.channels(8, 512),
        dice.one_of(1, 1, 2), dice.chance(0.7),
    )  # fmt: skip
