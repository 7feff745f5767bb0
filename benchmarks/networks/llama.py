"""LLaMA style decoders with a cache of keys and values, as two generations of exporters write them.

Touvron et al., "LLaMA" (2023): RMS normalization, rotary positions, gated feed-forward, and, since
LLaMA 2, several heads of queries to one of keys. One graph computes the prompt and further tokens.
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
class Llama:
    """A network's sizes; the defaults are those of a small published one.

    Attributes:
        layers: Decoder layers.
        hidden: Features of a token.
        inner: Features within the feed-forward part.
        heads: Heads of queries.
        key_heads: Heads of keys and values.
        vocabulary: Tokens.
        positions: Longest text, where angles are in tables.
        batch: Texts at once; open where it is a name, as the following.
        length: New tokens of each.
        past: Tokens whose keys and values are given.
        style: ``traced`` by TorchScript (tables of cosines and sines, a mask by Trilu, shapes
            gathered one by one), or ``exported`` by torch.export (angles and mask computed from
            positions).
        seed: Of the weights.
    """

    layers: int = 16
    hidden: int = 1024
    inner: int = 2816
    heads: int = 16
    key_heads: int = 4
    vocabulary: int = 32000
    positions: int = 2048
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


def llama(sizes: Llama) -> onnx.ModelProto:
    """Builds a decoder.

    Returns:
        A model from ``input_ids`` [batch, length], ``attention_mask`` [batch, past + length] and
        ``position_ids`` [batch, length], all int64, and ``past_key_N`` and ``past_value_N``
        [batch, key heads, past, size] of each layer, to ``logits`` [batch, length, vocabulary] and
        ``present_key_N`` and ``present_value_N``.
    """
    return _Builder(sizes).model()


class _Builder:
    def __init__(self, sizes: Llama) -> None:
        self.sizes = sizes
        self.size = sizes.hidden // sizes.heads
        self.traced = sizes.style == "traced"
        self.graph = GraphWriter("llama", opset=14 if self.traced else 18, seed=sizes.seed)

    def model(self) -> onnx.ModelProto:
        s, g = self.sizes, self.graph
        ids = g.input("input_ids", np.int64, [s.batch, s.length])
        mask = g.input("attention_mask", np.int64, [s.batch, s.total])
        positions = g.input("position_ids", np.int64, [s.batch, s.length])
        cache = [s.batch, s.key_heads, s.past, self.size]
        pasts = [
            tuple(g.input(f"past_{kind}_{layer}", np.float32, cache) for kind in ("key", "value"))
            for layer in range(s.layers)
        ]
        x = g.op("Gather", g.weight(s.vocabulary, s.hidden, scale=0.5, name="embed"), ids)
        bias = self.mask(mask, x, pasts[0][0])
        angles = self.angles(positions)
        presents = []
        for past in pasts:
            attended, present = self.attention(self.norm(x), bias, angles, past)
            x = g.op("Add", x, attended)
            x = g.op("Add", x, self.feed_forward(self.norm(x)))
            presents.append(present)
        logits = g.linear(self.norm(x), s.hidden, s.vocabulary, bias=False)
        g.output("logits", logits, [s.batch, s.length, s.vocabulary])
        for layer, present in enumerate(presents):
            for kind, value in zip(("key", "value"), present, strict=True):
                shape = [s.batch, s.key_heads, s.total, self.size]
                g.output(f"present_{kind}_{layer}", value, shape)
        return g.model()

    def mask(self, mask: str, x: str, past: str) -> str:
        """What is added to scores, [batch, 1, length, total]."""
        g = self.graph
        begin, length = g.size(past, 2), g.size(x, 1)
        total = g.op("Add", begin, length)
        rows = g.op("Range", begin, total, g.integer(1))
        columns = g.op("Range", g.integer(0), total, g.integer(1))
        lowest = g.number(_LOWEST)
        if not self.traced:
            causal = g.op("LessOrEqual", g.unsqueeze(columns, 0), g.unsqueeze(rows, 1))
            shape = g.sizes(g.size(x, 0), 1, length, total)
            causal = g.op("Expand", g.unsqueeze(causal, 0, 1), shape)
            padding = g.unsqueeze(g.cast(mask, np.bool_), 1, 2)
            return g.op("Where", g.op("And", causal, padding), g.number(0.0), lowest)
        full = g.op("Expand", lowest, g.sizes(length, total))
        upper = g.op("Trilu", full, g.integer(1), upper=1)
        later = g.op("Greater", columns, g.reshape(rows, -1, 1))
        causal = g.op("Mul", upper, g.cast(later, np.float32))
        causal = g.unsqueeze(causal, 0, 1)
        expanded = g.op("Expand", causal, self.where_known(g.sizes(g.size(x, 0), 1, -1, -1)))
        padding = g.op("Add", expanded, g.cast(g.unsqueeze(mask, 1, 2), np.float32))
        return g.op("Where", g.op("Equal", padding, g.number(0.0)), lowest, expanded)

    def where_known(self, shape: str) -> str:
        """PyTorch's expand: sizes of -1 stay as they are."""
        g = self.graph
        ones = g.full(shape, 1)
        unknown = g.op("Equal", shape, g.op("Mul", ones, g.ints(-1)))
        return g.op("Where", unknown, ones, shape)

    def angles(self, positions: str) -> tuple[str, str]:
        """Cosines and sines [batch, 1, length, size] of the tokens' positions."""
        g, half = self.graph, self.size // 2
        frequencies = (10000.0 ** (-np.arange(half) / half)).astype(np.float32)
        if self.traced:
            every = np.arange(self.sizes.positions)[:, None] * frequencies
            every = np.concatenate([every, every], -1)
            tables = [g.array(f(every).astype(np.float32), "angles") for f in (np.cos, np.sin)]
            cosines, sines = (g.unsqueeze(g.op("Gather", table, positions), 1) for table in tables)
            return cosines, sines
        column = g.array(frequencies.reshape(1, -1, 1))
        columns = g.op("Expand", column, g.sizes(g.size(positions, 0), half, 1))
        rows = g.cast(g.unsqueeze(positions, 1), np.float32)
        angles = g.transpose(g.op("MatMul", columns, rows), 0, 2, 1)
        angles = g.op("Concat", angles, angles, axis=-1)
        cosines, sines = (g.unsqueeze(g.op(function, angles), 1) for function in ("Cos", "Sin"))
        return cosines, sines

    def norm(self, x: str) -> str:
        """RMS normalization, spelled out."""
        g = self.graph
        square = g.op("Pow", x, g.number(2.0))
        mean = (
            g.op("ReduceMean", square, axes=[-1])
            if self.traced
            else g.op("ReduceMean", square, g.ints(-1), keepdims=1)
        )
        root = g.op("Sqrt", g.op("Add", mean, g.number(1e-6)))
        inverse = g.op("Div", g.number(1.0), root) if self.traced else g.op("Reciprocal", root)
        scale = 1 + 0.1 * np.sin(np.arange(self.sizes.hidden, dtype=np.float32))
        return g.op("Mul", g.array(scale, "scale"), g.op("Mul", x, inverse))

    def attention(
        self, x: str, bias: str, angles: tuple[str, str], past: tuple[str, ...]
    ) -> tuple[str, tuple[str, str]]:
        g, s = self.graph, self.sizes
        query = self.rotated(self.heads(x, s.heads), angles)
        key = self.rotated(self.heads(x, s.key_heads), angles)
        key = g.op("Concat", past[0], key, axis=2)
        value = g.op("Concat", past[1], self.heads(x, s.key_heads), axis=2)
        keys, values = self.repeated(key), self.repeated(value)
        if self.traced:
            scores = g.op("MatMul", query, g.transpose(keys, 0, 1, 3, 2))
            scores = g.op("Div", scores, g.number(math.sqrt(self.size)))
        else:
            root = g.number(self.size**-0.25)
            turned = g.op("Mul", g.transpose(keys, 0, 1, 3, 2), root)
            scores = g.op("MatMul", g.op("Mul", query, root), turned)
        weights = g.op("Softmax", g.op("Add", scores, bias), axis=-1)
        context = g.transpose(g.op("MatMul", weights, values), 0, 2, 1, 3)
        context = g.reshape(context, g.size(x, 0), g.size(x, 1), s.hidden)
        return g.linear(context, s.hidden, s.hidden, bias=False), (key, value)

    def heads(self, x: str, heads: int) -> str:
        g = self.graph
        x = g.linear(x, self.sizes.hidden, heads * self.size, bias=False)
        sizes = (heads, self.size) if self.traced else (-1, self.size)
        return g.transpose(g.reshape(x, g.size(x, 0), g.size(x, 1), *sizes), 0, 2, 1, 3)

    def rotated(self, x: str, angles: tuple[str, str]) -> str:
        """Rotary positions: x cos + (-second half, first half) sin."""
        g, half = self.graph, self.size // 2
        middle = half
        if self.traced:
            width = g.size(x, 3)
            middle = g.unsqueeze(g.op("Div", width, g.integer(2)), 0)
        first = g.slice(x, 0, middle, 3)
        second = g.slice(x, middle, _TO_THE_END, 3)
        turned = g.op("Concat", g.op("Neg", second), first, axis=-1)
        return g.op("Add", g.op("Mul", x, angles[0]), g.op("Mul", turned, angles[1]))

    def repeated(self, x: str) -> str:
        """Each head of keys or values for the queries' heads that share it."""
        g, s = self.graph, self.sizes
        group = s.heads // s.key_heads
        if group == 1:
            return x
        apart = g.unsqueeze(x, 2)
        batch, total = g.size(x, 0), g.size(x, 2)
        shape = g.sizes(batch, s.key_heads, group, total, self.size)
        wide = g.op("Expand", apart, self.where_known(shape) if self.traced else shape)
        return g.reshape(wide, batch, s.heads, total, self.size)

    def feed_forward(self, x: str) -> str:
        g, s = self.graph, self.sizes
        gate = g.linear(x, s.hidden, s.inner, bias=False)
        gate = g.op("Mul", gate, g.op("Sigmoid", gate))
        wide = g.op("Mul", gate, g.linear(x, s.hidden, s.inner, bias=False))
        return g.linear(wide, s.inner, s.hidden, bias=False)
