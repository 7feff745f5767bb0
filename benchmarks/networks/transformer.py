"""Layers of transformers as traced exports write them.

Norms and GELU are spelled out, heads are split by reshapes to gathered sizes.
"""

from __future__ import annotations

import math

import numpy as np

from benchmarks.networks.graph import GraphWriter


class Transformer:
    """Writes layers of one width to a graph.

    Args:
        graph: The graph.
        hidden: Features.
        heads: Attention heads.
    """

    def __init__(self, graph: GraphWriter, hidden: int, heads: int) -> None:
        self._graph = graph
        self._hidden, self._heads = hidden, heads

    def norm(self, value: str, features: int | None = None) -> str:
        """Layer normalization of the last dimension."""
        g = self._graph
        width = features or self._hidden
        centered = g.op("Sub", value, g.op("ReduceMean", value, axes=[-1]))
        variance = g.op("ReduceMean", g.op("Pow", centered, g.number(2.0)), axes=[-1])
        root = g.op("Sqrt", g.op("Add", variance, g.number(1e-5)))
        scale = g.array(np.ones(width, np.float32), "scale")
        shift = g.weight(width, scale=0.02, name="shift")
        return g.op("Add", g.op("Mul", g.op("Div", centered, root), scale), shift)

    def gelu(self, value: str) -> str:
        """GELU by the error function."""
        g = self._graph
        inner = g.op("Erf", g.op("Div", value, g.number(math.sqrt(2.0))))
        return g.op("Mul", g.op("Mul", value, g.op("Add", inner, g.number(1.0))), g.number(0.5))

    def split(self, value: str) -> str:
        """[batch, length, hidden] to [batch, heads, length, size]."""
        g = self._graph
        sizes = (g.size(value, 0), g.size(value, 1), self._heads, self._hidden // self._heads)
        return g.transpose(g.reshape(value, *sizes), 0, 2, 1, 3)

    def joined(self, value: str) -> str:
        """Heads back together, and the dense layer behind them."""
        g = self._graph
        moved = g.transpose(value, 0, 2, 1, 3)
        joined = g.reshape(moved, g.size(moved, 0), g.size(moved, 1), self._hidden)
        return g.linear(joined, self._hidden, self._hidden)

    def projected(self, value: str) -> tuple[str, str, str]:
        """Queries, keys and values of all heads."""
        query, key, content = (
            self.split(self._graph.linear(value, self._hidden, self._hidden)) for _ in range(3)
        )
        return query, key, content

    def weighed(self, query: str, key: str, value: str, mask: str | None = None) -> str:
        """Attention; a mask is added to the scores."""
        g = self._graph
        scores = g.op("MatMul", query, g.transpose(key, 0, 1, 3, 2))
        scores = g.op("Div", scores, g.number(math.sqrt(self._hidden // self._heads)))
        if mask is not None:
            scores = g.op("Add", scores, mask)
        return g.op("MatMul", g.op("Softmax", scores, axis=-1), value)

    def attended(self, value: str, mask: str | None = None, *, before: bool = True) -> str:
        """Self-attention with its residual, the norm before it or behind the sum."""
        g = self._graph
        heads = self.projected(self.norm(value) if before else value)
        added = g.op("Add", value, self.joined(self.weighed(*heads, mask)))
        return added if before else self.norm(added)

    def fed_forward(self, value: str, inner: int, *, before: bool = True) -> str:
        """The two dense layers with their residual, the norm before them or behind the sum."""
        g = self._graph
        widened = g.linear(self.norm(value) if before else value, self._hidden, inner)
        added = g.op("Add", value, g.linear(self.gelu(widened), inner, self._hidden))
        return added if before else self.norm(added)
