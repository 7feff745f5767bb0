"""A recommendation network in the manner of DLRM: embeddings, their products with each other, MLPs.

Naumov et al., "Deep Learning Recommendation Model for Personalization and Recommendation Systems"
(2019).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx

from benchmarks.networks.graph import GraphWriter


@dataclasses.dataclass(frozen=True)
class Dlrm:
    """Sizes.

    Attributes:
        dense: Features that are numbers.
        tables: Features that are categories.
        categories: Of each.
        features: Of an embedding.
        bottom: Units of the layers over the numbers.
        top: Units of the layers over the products.
        batch: Examples at once; open where it is a name.
        seed: Of the weights.
    """

    dense: int = 13
    tables: int = 26
    categories: int = 10000
    features: int = 64
    bottom: tuple[int, ...] = (512, 256)
    top: tuple[int, ...] = (512, 256)
    batch: int | str = "batch"
    seed: int = 0


def dlrm(sizes: Dlrm) -> onnx.ModelProto:
    """Builds the network.

    Returns:
        A model from ``dense`` [batch, dense] and ``categories`` [batch, tables], int64, to
        ``click`` [batch, 1].
    """
    s = sizes
    g = GraphWriter("dlrm", opset=17, seed=s.seed)
    x = g.input("dense", np.float32, [s.batch, s.dense])
    categories = g.input("categories", np.int64, [s.batch, s.tables])
    width = s.dense
    for units in (*s.bottom, s.features):
        x = g.op("Relu", g.linear(x, width, units))
        width = units
    looked_up = [
        g.op("Gather", g.weight(s.categories, s.features, scale=0.1, name=f"table{table}"),
             g.op("Gather", categories, g.integer(table), axis=1))
        for table in range(s.tables)
    ]  # fmt: skip
    together = g.op("Concat", *(g.unsqueeze(part, 1) for part in (x, *looked_up)), axis=1)
    products = g.op("MatMul", together, g.transpose(together, 0, 2, 1))
    count = s.tables + 1
    flat = g.op("Reshape", products, g.ints(0, count * count))
    rows, columns = np.tril_indices(count, -1)
    pairs = g.op("Gather", flat, g.array(rows * count + columns, "pairs"), axis=1)
    y = g.op("Concat", x, pairs, axis=1)
    width = s.features + rows.size
    for units in s.top:
        y = g.op("Relu", g.linear(y, width, units))
        width = units
    g.output("click", g.op("Sigmoid", g.linear(y, width, 1)), [s.batch, 1])
    return g.model()
