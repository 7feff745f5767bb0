"""T5 style encoders and decoders, as exporters write them.

Raffel et al., "Exploring the Limits of Transfer Learning with a Unified Text-to-Text Transformer"
(2019): scores get a bias by the distance of two tokens, in buckets that grow with it; nothing is
scaled, and normalization is by the root of the mean square.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import onnx

from benchmarks.networks.graph import GraphWriter

_LOWEST = float(np.finfo(np.float32).min)
_BUCKETS, _MAX_DISTANCE = 32, 128
_TO_THE_END = 2**63 - 1


@dataclasses.dataclass(frozen=True)
class T5:
    """A network's sizes; the defaults are those of the smallest that was published.

    Attributes:
        layers: Layers of the encoder, and of the decoder.
        hidden: Features of a token.
        inner: Features within the feed-forward part.
        heads: Attention heads.
        size: Features of a head.
        vocabulary: Tokens.
        batch: Texts at once; open where it is a name, as the following.
        source: Tokens of the encoder's text.
        length: New tokens of the decoder's.
        past: Tokens of it whose keys and values are given.
        seed: Of the weights.
    """

    layers: int = 6
    hidden: int = 512
    inner: int = 2048
    heads: int = 8
    size: int = 64
    vocabulary: int = 32128
    batch: int | str = "batch"
    source: int | str = "source"
    length: int | str = "length"
    past: int | str = "past"
    seed: int = 0

    @property
    def total(self) -> int | str:
        """Tokens of the decoder's text that are attended to."""
        if isinstance(self.past, int) and isinstance(self.length, int):
            return self.past + self.length
        return f"{self.past} + {self.length}"


def t5_encoder(sizes: T5) -> onnx.ModelProto:
    """Builds an encoder.

    Returns:
        A model from ``input_ids`` and ``attention_mask`` [batch, source], int64, to
        ``encoder_hidden_states`` [batch, source, hidden].
    """
    builder = _Builder(sizes, "t5_encoder")
    g, s = builder.graph, sizes
    ids = g.input("input_ids", np.int64, [s.batch, s.source])
    mask = g.input("attention_mask", np.int64, [s.batch, s.source])
    x = builder.embedded(ids)
    length = g.size(x, 1)
    bias = g.op("Add", builder.bias(length, length, both_ways=True), builder.padding(mask))
    for _ in range(s.layers):
        heads = builder.projected(builder.norm(x))
        x = g.op("Add", x, builder.attended(*heads, bias))
        x = g.op("Add", x, builder.feed_forward(builder.norm(x)))
    g.output("encoder_hidden_states", builder.norm(x), [s.batch, s.source, s.hidden])
    return g.model()


def t5_decoder(sizes: T5, *, cached: bool) -> onnx.ModelProto:
    """Builds a decoder.

    Args:
        sizes: The sizes.
        cached: Whether the keys and values of the encoder's text are given, as for all tokens but
            the first, or computed from ``encoder_hidden_states`` [batch, source, hidden] and given
            out as ``cross_key_N`` and ``cross_value_N``.

    Returns:
        A model from ``input_ids`` [batch, length] and ``encoder_attention_mask`` [batch, source],
        int64, ``past_key_N`` and ``past_value_N`` [batch, heads, past, size] and, if cached,
        ``cross_key_N`` and ``cross_value_N`` [batch, heads, source, size], to ``logits`` [batch,
        length, vocabulary], ``present_key_N`` and ``present_value_N``.
    """
    builder = _Builder(sizes, "t5_decoder")
    g, s = builder.graph, sizes
    ids = g.input("input_ids", np.int64, [s.batch, s.length])
    mask = g.input("encoder_attention_mask", np.int64, [s.batch, s.source])
    states = "" if cached else g.input(
        "encoder_hidden_states", np.float32, [s.batch, s.source, s.hidden]
    )  # fmt: skip
    pasts = [builder.cache("past", layer, s.past) for layer in range(s.layers)]
    crosses = [builder.cache("cross", layer, s.source) for layer in range(s.layers) if cached]
    x = builder.embedded(ids)
    length = g.size(x, 1)
    total = g.op("Add", length, g.size(pasts[0][0], 2))
    bias = builder.decoder_bias(length, total)
    padding = builder.padding(mask)
    kept: dict[str, tuple[str, int | str]] = {}
    for layer, past in enumerate(pasts):
        query, key, value = builder.projected(builder.norm(x))
        key, value = (
            g.op("Concat", old, new, axis=2) for old, new in zip(past, (key, value), strict=True)
        )
        kept |= {f"present_key_{layer}": (key, s.total), f"present_value_{layer}": (value, s.total)}
        x = g.op("Add", x, builder.attended(query, key, value, bias))
        query = builder.heads(builder.norm(x))
        if cached:
            key, value = crosses[layer]
            for _ in range(2):
                g.skip_weight(s.hidden, s.heads * s.size)
        else:
            key, value = builder.heads(states), builder.heads(states)
            kept |= {
                f"cross_key_{layer}": (key, s.source),
                f"cross_value_{layer}": (value, s.source),
            }
        x = g.op("Add", x, builder.attended(query, key, value, padding))
        x = g.op("Add", x, builder.feed_forward(builder.norm(x)))
    scaled = g.op("Mul", builder.norm(x), g.number(1.0 / math.sqrt(s.hidden)))
    g.output("logits", g.linear(scaled, s.hidden, s.vocabulary, bias=False),
             [s.batch, s.length, s.vocabulary])  # fmt: skip
    for name, (tensor, positions) in kept.items():
        g.output(name, tensor, [s.batch, s.heads, positions, s.size])
    return g.model()


class _Builder:
    def __init__(self, sizes: T5, name: str) -> None:
        self.sizes = sizes
        self.graph = GraphWriter(name, opset=14, seed=sizes.seed)

    def cache(self, kind: str, layer: int, positions: int | str) -> tuple[str, str]:
        s = self.sizes
        shape = [s.batch, s.heads, positions, s.size]
        key, value = (
            self.graph.input(f"{kind}_{part}_{layer}", np.float32, shape)
            for part in ("key", "value")
        )
        return key, value

    def embedded(self, ids: str) -> str:
        """Looks tokens up; the traced model flattens and restores their shape."""
        g, s = self.graph, self.sizes
        table = g.weight(s.vocabulary, s.hidden, scale=0.5, name="shared")
        return g.op("Gather", table, g.reshape(ids, -1, g.size(ids, 1)))

    def padding(self, mask: str) -> str:
        """Adds the lowest number where a token is padding, [batch, 1, 1, tokens]."""
        g = self.graph
        floats = g.cast(g.unsqueeze(g.unsqueeze(mask, 1), 2), np.float32)
        return g.op("Mul", g.op("Sub", g.number(1.0), floats), g.number(_LOWEST))

    def decoder_bias(self, length: str, total: str) -> str:
        """The last rows of the bias of all positions, and the causal mask of the same."""
        g = self.graph
        bias = self.bias(total, total, both_ways=False)
        first = g.unsqueeze(g.op("Neg", length), 0)
        bias = g.slice(bias, first, _TO_THE_END, 2)
        columns = g.op("Range", g.integer(0), total, g.integer(1))
        rows = g.slice(columns, first, _TO_THE_END, 0)
        causal = g.op("LessOrEqual", g.unsqueeze(columns, 0), g.unsqueeze(rows, 1))
        floats = g.op("Sub", g.number(1.0), g.cast(g.unsqueeze(causal, 0, 1), np.float32))
        return g.op("Add", bias, g.op("Mul", floats, g.number(_LOWEST)))

    def bias(self, queries: str, keys: str, *, both_ways: bool) -> str:
        """The bias by distance, [1, heads, queries, keys]."""
        g = self.graph
        rows, columns = (
            g.op("Range", g.integer(0), size, g.integer(1)) for size in (queries, keys)
        )
        distance = g.op("Sub", g.unsqueeze(columns, 0), g.unsqueeze(rows, 1))
        bucket = self.bucket(distance, both_ways)
        values = g.op("Gather", g.weight(_BUCKETS, self.sizes.heads, scale=1.0), bucket)
        return g.unsqueeze(g.transpose(values, 2, 0, 1), 0)

    def bucket(self, distance: str, both_ways: bool) -> str:
        g = self.graph
        buckets = _BUCKETS // 2 if both_ways else _BUCKETS
        if both_ways:
            later = g.cast(g.op("Greater", distance, g.integer(0)), np.int64)
            offset = g.op("Mul", later, g.integer(buckets))
            offset = g.op("Add", offset, g.integer(0))
            distance = g.op("Abs", distance)
        else:
            distance, offset = g.op("Neg", g.op("Min", distance, g.full(distance, 0))), ""
        exact = buckets // 2
        near = g.op("Less", distance, g.integer(exact))
        ratio = g.op("Div", g.cast(distance, np.float32), g.number(exact))
        logarithm = g.op("Log", ratio)
        scaled = g.op("Div", logarithm, g.number(math.log(_MAX_DISTANCE / exact)))
        steps = g.cast(g.op("Mul", scaled, g.number(buckets - exact)), np.int64)
        far = g.op("Add", steps, g.integer(exact))
        last = g.full(far, buckets - 1)
        found = g.op("Where", near, distance, g.op("Min", far, last))
        return g.op("Add", offset, found) if offset else found

    def norm(self, x: str) -> str:
        g = self.graph
        mean = g.op("ReduceMean", g.op("Pow", x, g.number(2.0)), axes=[-1])
        inverse = g.op("Div", g.number(1.0), g.op("Sqrt", g.op("Add", mean, g.number(1e-6))))
        scale = 1 + 0.1 * np.sin(np.arange(self.sizes.hidden, dtype=np.float32))
        return g.op("Mul", g.array(scale, "scale"), g.op("Mul", x, inverse))

    def projected(self, x: str) -> tuple[str, str, str]:
        return self.heads(x), self.heads(x), self.heads(x)

    def heads(self, x: str) -> str:
        g, s = self.graph, self.sizes
        wide = g.linear(x, s.hidden, s.heads * s.size, bias=False)
        return g.transpose(g.reshape(wide, g.size(x, 0), -1, s.heads, s.size), 0, 2, 1, 3)

    def attended(self, query: str, key: str, value: str, bias: str) -> str:
        g, s = self.graph, self.sizes
        scores = g.op("MatMul", query, g.transpose(key, 0, 1, 3, 2))
        weights = g.op("Softmax", g.op("Add", scores, bias), axis=-1)
        context = g.transpose(g.op("MatMul", weights, value), 0, 2, 1, 3)
        context = g.reshape(context, g.size(query, 0), -1, s.heads * s.size)
        return g.linear(context, s.heads * s.size, s.hidden, bias=False)

    def feed_forward(self, x: str) -> str:
        g, s = self.graph, self.sizes
        wide = g.op("Relu", g.linear(x, s.hidden, s.inner, bias=False))
        return g.linear(wide, s.inner, s.hidden, bias=False)
