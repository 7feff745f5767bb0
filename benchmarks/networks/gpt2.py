"""GPT-2 style decoders with a cache of keys and values, as two generations of exporters write them.

Radford et al., "Language Models are Unsupervised Multitask Learners" (2019). One graph computes the
prompt (no past) and each further token.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import numpy as np
import onnx

from benchmarks.networks.graph import GraphWriter

_LOWEST = float(np.finfo(np.float32).min)
_TO_THE_END = 2**63 - 1

Style = Literal["traced", "exported"]


@dataclasses.dataclass(frozen=True)
class Gpt2:
    """A network's sizes; the defaults are those of the smallest that was published.

    Attributes:
        layers: Decoder layers.
        hidden: Features of a token, 64 for each head unless ``heads`` says otherwise.
        heads: Attention heads.
        vocabulary: Tokens.
        positions: Longest text.
        batch: Texts at once; open where it is a name, as the following.
        length: New tokens of each.
        past: Tokens whose keys and values are given.
        style: ``traced`` by TorchScript (shapes gathered one by one, the causal mask cut out of a
            table, layer normalization spelled out), or ``exported`` by torch.export (the mask
            computed from positions, scaled queries and keys).
        seed: Of the weights.
    """

    layers: int = 12
    hidden: int = 768
    heads: int = 12
    vocabulary: int = 50257
    positions: int = 1024
    batch: int | str = "batch"
    length: int | str = "length"
    past: int | str = "past"
    style: Style = "traced"
    seed: int = 0

    @property
    def total(self) -> int | str:
        """Tokens that are attended to."""
        if isinstance(self.past, int) and isinstance(self.length, int):
            return self.past + self.length
        return f"{self.past} + {self.length}"


def gpt2(sizes: Gpt2) -> onnx.ModelProto:
    """Builds a decoder.

    Returns:
        A model from ``input_ids`` [batch, length], ``attention_mask`` [batch, past + length], both
        int64, and ``past_key_N`` and ``past_value_N`` [batch, heads, past, size] of each layer, to
        ``logits`` [batch, length, vocabulary] and ``present_key_N`` and ``present_value_N``.
    """
    return _Builder(sizes).model()


class _Builder:
    def __init__(self, sizes: Gpt2) -> None:
        self.sizes = sizes
        self.size = sizes.hidden // sizes.heads
        traced = sizes.style == "traced"
        self.graph = GraphWriter("gpt2", opset=14 if traced else 18, seed=sizes.seed)
        self.traced = traced

    def model(self) -> onnx.ModelProto:
        s, g = self.sizes, self.graph
        ids = g.input("input_ids", np.int64, [s.batch, s.length])
        mask = g.input("attention_mask", np.int64, [s.batch, s.total])
        cache = [s.batch, s.heads, s.past, self.size]
        pasts = [
            tuple(g.input(f"past_{kind}_{layer}", np.float32, cache) for kind in ("key", "value"))
            for layer in range(s.layers)
        ]
        positions = self.positions(ids, pasts[0][0])
        table = g.weight(s.vocabulary, s.hidden, scale=0.3, name="wte")
        words = g.op("Gather", table, ids)
        x = g.op(
            "Add", words, g.op("Gather", g.weight(s.positions, s.hidden, scale=0.1), positions)
        )
        bias = self.mask(mask, positions, ids)
        presents = []
        for past in pasts:
            attended, present = self.attention(self.norm(x), bias, past)
            x = g.op("Add", x, attended)
            x = g.op("Add", x, self.feed_forward(self.norm(x)))
            presents.append(present)
        logits = g.op("MatMul", self.norm(x), g.transpose(table, 1, 0))
        g.output("logits", logits, [s.batch, s.length, s.vocabulary])
        for layer, present in enumerate(presents):
            for kind, value in zip(("key", "value"), present, strict=True):
                shape = [s.batch, s.heads, s.total, self.size]
                g.output(f"present_{kind}_{layer}", value, shape)
        return g.model()

    def positions(self, ids: str, past: str) -> str:
        """Positions [1, length] that go on where the past ends."""
        g = self.graph
        begin = g.size(past, 2)
        end = g.op("Add", begin, g.size(ids, 1))
        counted = g.op("Range", begin, end, g.integer(1))
        if self.traced:
            flat = g.unsqueeze(counted, 0)
            return g.reshape(flat, -1, g.size(ids, 1))
        return g.unsqueeze(counted, 0)

    def mask(self, mask: str, positions: str, ids: str) -> str:
        """What is added to scores: of padding alone where a table has the causal part."""
        g = self.graph
        if self.traced:
            flat = g.reshape(mask, g.size(ids, 0), -1)
            floats = g.cast(g.unsqueeze(g.unsqueeze(flat, 1), 2), np.float32)
            return g.op("Mul", g.op("Sub", g.number(1.0), floats), g.number(_LOWEST))
        total = g.size(mask, 1)
        keys = g.op("Range", g.integer(0), total, g.integer(1))
        rows = g.unsqueeze(g.op("Squeeze", positions, g.ints(0)), 1)
        causal = g.op("LessOrEqual", g.unsqueeze(keys, 0), rows)
        shape = g.sizes(g.size(ids, 0), 1, g.size(ids, 1), total)
        causal = g.op("Expand", g.unsqueeze(causal, 0, 1), shape)
        padding = g.unsqueeze(g.cast(mask, np.bool_), 1, 2)
        allowed = g.op("And", causal, padding)
        return g.op("Where", allowed, g.number(0.0), g.number(_LOWEST))

    def norm(self, x: str) -> str:
        g, hidden = self.graph, self.sizes.hidden
        scale = g.array(1 + 0.1 * np.sin(np.arange(hidden, dtype=np.float32)), "scale")
        bias = g.weight(hidden, scale=0.05, name="bias")
        if not self.traced:
            return g.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-5)
        centred = g.op("Sub", x, g.op("ReduceMean", x, axes=[-1]))
        square = g.op("Pow", centred, g.number(2.0))
        variance = g.op("Add", g.op("ReduceMean", square, axes=[-1]), g.number(1e-5))
        normal = g.op("Div", centred, g.op("Sqrt", variance))
        return g.op("Add", g.op("Mul", normal, scale), bias)

    def dense(self, x: str, inputs: int, outputs: int) -> str:
        """GPT-2's Conv1D: one Gemm over all tokens."""
        g = self.graph
        weight, bias = g.weight(inputs, outputs), g.weight(outputs, scale=0.02, name="bias")
        flat = g.op("Gemm", g.reshape(x, -1, inputs), weight, bias)
        if self.traced:
            return g.reshape(flat, g.size(x, 0), g.size(x, 1), outputs)
        return g.op("Reshape", flat, g.sizes(g.size(x, 0), g.size(x, 1), outputs), allowzero=1)

    def attention(self, x: str, bias: str, past: tuple[str, ...]) -> tuple[str, tuple[str, str]]:
        g, s = self.graph, self.sizes
        joined = self.dense(x, s.hidden, 3 * s.hidden)
        parts = g.ops("Split", 3, joined, g.ints(*[s.hidden] * 3), axis=2)
        query, key, value = (self.heads(part) for part in parts)
        key = g.op("Concat", past[0], key, axis=2)
        value = g.op("Concat", past[1], value, axis=2)
        weights = self.scores_traced if self.traced else self.scores_exported
        context = g.op("MatMul", g.op("Softmax", weights(query, key, bias), axis=-1), value)
        flat = g.transpose(context, 0, 2, 1, 3)
        flat = g.reshape(flat, g.size(flat, 0), g.size(flat, 1), s.hidden)
        return self.dense(flat, s.hidden, s.hidden), (key, value)

    def heads(self, x: str) -> str:
        g = self.graph
        apart = g.reshape(x, g.size(x, 0), g.size(x, 1), self.sizes.heads, self.size)
        return g.transpose(apart, 0, 2, 1, 3)

    def scores_traced(self, query: str, key: str, bias: str) -> str:
        """Scores with the causal mask cut out of a table of all positions."""
        g = self.graph
        scores = g.op("MatMul", query, g.transpose(key, 0, 1, 3, 2))
        scores = g.op("Div", scores, g.number(math.sqrt(self.size)))
        queries, keys = g.size(query, 2), g.size(key, 2)
        table = np.tril(np.ones((1, 1, self.sizes.positions, self.sizes.positions), np.bool_))
        begin = g.op("Sub", keys, queries)
        bounds = [g.unsqueeze(bound, 0) for bound in (begin, keys)]
        causal = g.slice(g.array(table, "causal"), bounds[0], bounds[1], 2)
        causal = g.slice(causal, 0, bounds[1], 3)
        scores = g.op("Where", causal, scores, g.number(_LOWEST))
        return g.op("Add", scores, bias)

    def scores_exported(self, query: str, key: str, bias: str) -> str:
        """Scores with queries and keys scaled apart, keys transposed in three dimensions."""
        g, s = self.graph, self.sizes
        root = g.number(math.sqrt(1.0 / math.sqrt(self.size)))
        flat = g.reshape(key, -1, g.size(key, 2), self.size)
        turned = g.reshape(
            g.transpose(flat, 0, 2, 1), g.size(key, 0), s.heads, self.size, g.size(key, 2)
        )
        scores = g.op("MatMul", g.op("Mul", query, root), g.op("Mul", turned, root))
        return g.op("Add", scores, bias)

    def feed_forward(self, x: str) -> str:
        """GELU by its tangent, spelled out."""
        g, hidden = self.graph, self.sizes.hidden
        x = self.dense(x, hidden, 4 * hidden)
        cube = g.op("Mul", g.op("Pow", x, g.number(3.0)), g.number(0.044715))
        inner = g.op("Mul", g.op("Add", x, cube), g.number(math.sqrt(2.0 / math.pi)))
        gate = g.op("Add", g.op("Tanh", inner), g.number(1.0))
        x = g.op("Mul", g.op("Mul", x, g.number(0.5)), gate)
        return self.dense(x, 4 * hidden, hidden)
