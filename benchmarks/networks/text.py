"""Text classifiers: DistilBERT style, and recurrent ones.

Sanh et al., "DistilBERT" (2019); Hochreiter and Schmidhuber (1997) and Cho et al. (2014) for LSTM
and GRU.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import onnx

from benchmarks.networks.graph import GraphWriter
from benchmarks.networks.transformer import Transformer


@dataclasses.dataclass(frozen=True)
class DistilBert:
    """Sizes; the defaults are those that were published.

    Attributes:
        layers: Layers.
        hidden: Features of a token.
        heads: Attention heads.
        vocabulary: Tokens.
        positions: Longest text.
        classes: Of the classifier.
        batch: Texts at once; open where it is a name, as the following.
        length: Tokens of a text.
        seed: Of the weights.
    """

    layers: int = 6
    hidden: int = 768
    heads: int = 12
    vocabulary: int = 30522
    positions: int = 512
    classes: int = 2
    batch: int | str = "batch"
    length: int | str = "length"
    seed: int = 0


def distilbert(sizes: DistilBert) -> onnx.ModelProto:
    """Builds a classifier.

    Returns:
        A model from ``input_ids`` and ``attention_mask`` [batch, length], int64, to ``logits``
        [batch, classes].
    """
    s = sizes
    g = GraphWriter("distilbert", opset=17, seed=s.seed)
    block = Transformer(g, s.hidden, s.heads)
    ids = g.input("input_ids", np.int64, [s.batch, s.length])
    mask = g.input("attention_mask", np.int64, [s.batch, s.length])
    table = g.weight(s.vocabulary, s.hidden, scale=0.05, name="tokens")
    positions = g.slice(
        g.array(np.arange(s.positions, dtype=np.int64)[None], "position_ids"), 0,
        g.unsqueeze(g.size(ids, 1), 0), 1,
    )  # fmt: skip
    places = g.op("Gather", g.weight(s.positions, s.hidden, scale=0.05), positions)
    x = block.norm(g.op("Add", g.op("Gather", table, ids), places))
    # True where a token is padding, over all queries, as the traced model expands it.
    absent = g.op("Equal", mask, g.integer(0))
    absent = g.reshape(absent, g.size(mask, 0), 1, 1, g.size(mask, 1))
    lowest = g.op("Where", absent, g.number(float(np.finfo(np.float32).min)), g.number(0.0))
    for _ in range(s.layers):
        x = block.attended(x, lowest, before=False)
        x = block.fed_forward(x, 4 * s.hidden, before=False)
    first = g.op("Gather", x, g.integer(0), axis=1)
    hidden = g.op("Relu", g.linear(first, s.hidden, s.hidden))
    g.output("logits", g.linear(hidden, s.hidden, s.classes), [s.batch, s.classes])
    return g.model()


@dataclasses.dataclass(frozen=True)
class Recurrent:
    """Sizes of a classifier of two stacked layers, both directions.

    Attributes:
        cell: The recurrent operator.
        hidden: Units of each direction.
        embedding: Features of a token.
        vocabulary: Tokens.
        classes: Of the classifier.
        batch: Texts at once; open where it is a name, as the following.
        length: Tokens of a text.
        seed: Of the weights.
    """

    cell: Literal["LSTM", "GRU"] = "LSTM"
    hidden: int = 256
    embedding: int = 128
    vocabulary: int = 20000
    classes: int = 5
    batch: int | str = "batch"
    length: int | str = "length"
    seed: int = 0


def recurrent(sizes: Recurrent) -> onnx.ModelProto:
    """Builds a classifier.

    Returns:
        A model from ``input_ids`` [batch, length], int64, to ``logits`` [batch, classes].
    """
    s = sizes
    g = GraphWriter(s.cell.lower(), opset=17, seed=s.seed)
    gates = {"LSTM": 4, "GRU": 3}[s.cell]
    options = {"linear_before_reset": 1} if s.cell == "GRU" else {}
    ids = g.input("input_ids", np.int64, [s.batch, s.length])
    x = g.op("Gather", g.weight(s.vocabulary, s.embedding, scale=0.5, name="tokens"), ids)
    x = g.transpose(x, 1, 0, 2)
    features = s.embedding
    for _ in range(2):
        weights = (
            g.weight(2, gates * s.hidden, features, scale=features**-0.5),
            g.weight(2, gates * s.hidden, s.hidden, scale=s.hidden**-0.5),
            g.weight(2, 2 * gates * s.hidden, scale=0.02, name="bias"),
        )
        outputs, *_ = g.ops(
            s.cell, 2, x, *weights, hidden_size=s.hidden, direction="bidirectional", **options
        )
        # [length, directions, batch, hidden] to [length, batch, directions * hidden].
        moved = g.transpose(outputs, 0, 2, 1, 3)
        x = g.op("Reshape", moved, g.ints(0, 0, -1))
        features = 2 * s.hidden
    pooled = g.op("ReduceMax", g.transpose(x, 1, 0, 2), axes=[1], keepdims=0)
    g.output("logits", g.linear(pooled, features, s.classes), [s.batch, s.classes])
    return g.model()
