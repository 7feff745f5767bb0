"""BERT and MPNet: encoders of any depth and width, with Hugging Face's layer names.

BERT: Devlin et al. 2018, arXiv:1810.04805. MPNet: Song et al. 2020, arXiv:2004.09297; it adds to
the attention scores a bias by the distance of two tokens, in buckets as T5 has them
(Raffel et al. 2019, arXiv:1910.10683). Attention is spelled out, as PyTorch exports it.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.models.architectures.layers import LayerGraph, Weights

_HEAD_SIZE = 64  # in every size of both families
_BERT_POSITIONS = 512
_BERT_VOCABULARY = 30522
_BUCKETS = 32
_MAX_DISTANCE = 128  # from here on, all distances share a bucket


@dataclasses.dataclass(frozen=True)
class _LayerNames:
    """What a checkpoint calls the parts of an encoder layer."""

    query: str
    key: str
    value: str
    output: str
    norm: str


_BERT = _LayerNames(
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
)
_MPNET = _LayerNames(
    "attention.attn.q",
    "attention.attn.k",
    "attention.attn.v",
    "attention.attn.o",
    "attention.LayerNorm",
)


def build_bert(weights: Weights) -> ir.Model:
    """Builds a BERT without its pooler, as deep and wide as its weights are.

    Args:
        weights: By Hugging Face's names (``encoder.layer.0.attention.self.query.weight``, ...).

    Returns:
        A model from ``input_ids``, ``attention_mask`` and ``token_type_ids``, int64 [N, L] with L
        up to the number of positions, to ``last_hidden_state``, float32 [N, L, hidden].
    """
    graph = LayerGraph("bert", weights)
    ids = graph.input("input_ids", ir.DataType.INT64, ("N", "L"))
    mask = graph.input("attention_mask", ir.DataType.INT64, ("N", "L"))
    types = graph.input("token_type_ids", ir.DataType.INT64, ("N", "L"))
    words = graph.op("Gather", [graph.weight("embeddings.word_embeddings.weight"), ids], "words")
    segments = graph.op(
        "Gather", [graph.weight("embeddings.token_type_embeddings.weight"), types], "segments"
    )
    x = graph.op("Add", [words, segments], "embeddings.add_segments")
    x = graph.op("Add", [x, _positions(graph, ids, first=0)], "embeddings.add_positions")
    x = graph.layer_norm(x, "embeddings.LayerNorm", epsilon=1e-12)
    x = _encoder(graph, x, _mask_bias(graph, mask), _BERT, epsilon=1e-12)
    return graph.finish(x, "last_hidden_state", ("N", "L", _hidden(graph)))


def build_mpnet(weights: Weights) -> ir.Model:
    """Builds an MPNet without its pooler, as deep and wide as its weights are.

    Positions count from the first token, so a batch must be padded at the end, as is usual.

    Args:
        weights: By Hugging Face's names (``encoder.layer.0.attention.attn.q.weight``, ...).

    Returns:
        A model from ``input_ids`` and ``attention_mask``, int64 [N, L] with L up to the number of
        positions less two, to ``last_hidden_state``, float32 [N, L, hidden].
    """
    graph = LayerGraph("mpnet", weights)
    ids = graph.input("input_ids", ir.DataType.INT64, ("N", "L"))
    mask = graph.input("attention_mask", ir.DataType.INT64, ("N", "L"))
    words = graph.op("Gather", [graph.weight("embeddings.word_embeddings.weight"), ids], "words")
    # Position 0 is unused and 1 is the padding token's: real tokens count from 2.
    x = graph.op("Add", [words, _positions(graph, ids, first=2)], "embeddings.add_positions")
    x = graph.layer_norm(x, "embeddings.LayerNorm", epsilon=1e-5)
    bias = graph.op(
        "Add", [_relative_bias(graph, ids), _mask_bias(graph, mask)], "encoder.attention_bias"
    )
    x = _encoder(graph, x, bias, _MPNET, epsilon=1e-5)
    return graph.finish(x, "last_hidden_state", ("N", "L", _hidden(graph)))


def random_bert_weights(
    seed: int, *, layers: int = 12, hidden: int = 768, vocabulary: int = _BERT_VOCABULARY
) -> dict[str, npt.NDArray[np.float32]]:
    """Draws weights as BERT's authors initialize them: normal, of standard deviation 0.02.

    The defaults are BERT-base's; ``hidden`` is a multiple of 64, the size of a head.
    """
    generator = np.random.default_rng(seed)
    weights: dict[str, npt.NDArray[np.float32]] = {}

    def matrix(name: str, *shape: int) -> None:
        draw = generator.standard_normal(shape, dtype=np.float32)
        weights[name] = draw * np.float32(0.02)

    def dense(name: str, outputs: int, inputs: int) -> None:
        matrix(f"{name}.weight", outputs, inputs)
        weights[f"{name}.bias"] = np.zeros(outputs, np.float32)

    def norm(name: str) -> None:
        weights[f"{name}.weight"] = np.ones(hidden, np.float32)
        weights[f"{name}.bias"] = np.zeros(hidden, np.float32)

    matrix("embeddings.word_embeddings.weight", vocabulary, hidden)
    matrix("embeddings.position_embeddings.weight", _BERT_POSITIONS, hidden)
    matrix("embeddings.token_type_embeddings.weight", 2, hidden)
    norm("embeddings.LayerNorm")
    for index in range(layers):
        layer = f"encoder.layer.{index}"
        for part in (_BERT.query, _BERT.key, _BERT.value, _BERT.output):
            dense(f"{layer}.{part}", hidden, hidden)
        norm(f"{layer}.{_BERT.norm}")
        dense(f"{layer}.intermediate.dense", 4 * hidden, hidden)
        dense(f"{layer}.output.dense", hidden, 4 * hidden)
        norm(f"{layer}.output.LayerNorm")
    return weights


def relative_position_buckets(distances: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Returns the bucket of each signed distance (key's position minus query's).

    Half of the 32 buckets are for keys after the query. Of each half, distances below 8 have a
    bucket each, and the rest grows logarithmically up to distance 128.
    """
    half = _BUCKETS // 2
    exact = half // 2
    magnitude = np.abs(distances)
    # In float32, as PyTorch computes it, so that a distance on a boundary falls as it does there.
    ratio = np.log(np.maximum(magnitude, 1).astype(np.float32) / np.float32(exact))
    scaled = ratio / np.float32(math.log(_MAX_DISTANCE / exact)) * np.float32(half - exact)
    logarithmic = np.minimum(exact + scaled.astype(np.int64), half - 1)
    bucket = np.where(magnitude < exact, magnitude, logarithmic)
    return np.asarray(np.where(distances > 0, half, 0) + bucket)


def _hidden(graph: LayerGraph) -> int:
    return int(graph.array("embeddings.word_embeddings.weight").shape[1])


def _int64(graph: LayerGraph, name: str, values: Any) -> ir.Value:
    return graph.constant(name, np.asarray(values, dtype=np.int64))


def _positions(graph: LayerGraph, ids: ir.Value, *, first: int) -> ir.Value:
    """Position embeddings of L tokens, [L, hidden]: rows ``first`` ... ``first + L - 1``."""
    length = graph.op("Shape", [ids], "embeddings.length", start=1, end=2)
    end = length
    if first:
        offset = _int64(graph, "embeddings.first_position", [first])
        end = graph.op("Add", [length, offset], "embeddings.end_position")
    table = graph.weight("embeddings.position_embeddings.weight")
    start = _int64(graph, "embeddings.start_position", [first])
    axis = _int64(graph, "embeddings.position_axis", [0])
    return graph.op("Slice", [table, start, end, axis], "embeddings.positions")


def _mask_bias(graph: LayerGraph, mask: ir.Value) -> ir.Value:
    """0 where a token is real, the lowest float where it is padding: [N, 1, 1, L]."""
    real = graph.op("Cast", [mask], "mask.cast", to=ir.DataType.FLOAT.value)
    padding = graph.op("Sub", [graph.constant("mask.one", np.float32(1)), real], "mask.invert")
    lowest = graph.constant("mask.lowest", np.finfo(np.float32).min)
    bias = graph.op("Mul", [padding, lowest], "mask.scale")
    return graph.op("Unsqueeze", [bias, _int64(graph, "mask.axes", [1, 2])], "mask.bias")


def _relative_bias(graph: LayerGraph, ids: ir.Value) -> ir.Value:
    """The bias of each head for each pair of positions: [1, heads, L, L].

    The buckets of all distances are looked up while building; what is left is one ``Gather``.
    """
    name = "encoder.relative_attention_bias"
    by_bucket = graph.array(f"{name}.weight")
    longest = graph.array("embeddings.position_embeddings.weight").shape[0]
    distances = np.arange(1 - longest, longest, dtype=np.int64)
    by_distance = by_bucket[relative_position_buckets(distances)]
    length = graph.op("Shape", [ids], f"{name}.shape", start=1, end=2)
    length = graph.op("Squeeze", [length], f"{name}.length")
    zero, one = _int64(graph, f"{name}.zero", 0), _int64(graph, f"{name}.one", 1)
    positions = graph.op("Range", [zero, length, one], f"{name}.positions")
    keys = graph.op("Unsqueeze", [positions, _int64(graph, f"{name}.row", [0])], f"{name}.keys")
    queries = graph.op(
        "Unsqueeze", [positions, _int64(graph, f"{name}.column", [1])], f"{name}.queries"
    )
    distance = graph.op("Sub", [keys, queries], f"{name}.distance")
    origin = _int64(graph, f"{name}.origin", longest - 1)
    index = graph.op("Add", [distance, origin], f"{name}.index")
    table = graph.constant(f"{name}.by_distance", by_distance)
    bias = graph.op("Gather", [table, index], f"{name}.gather")
    bias = graph.op("Transpose", [bias], f"{name}.transpose", perm=[2, 0, 1])
    return graph.op("Unsqueeze", [bias, _int64(graph, f"{name}.batch", [0])], f"{name}.bias")


def _encoder(
    graph: LayerGraph, x: ir.Value, bias: ir.Value, names: _LayerNames, *, epsilon: float
) -> ir.Value:
    layers = 0
    while graph.has(f"encoder.layer.{layers}.output.dense.weight"):
        layers += 1
    for index in range(layers):
        layer = f"encoder.layer.{index}"
        attended = _attention(graph, x, bias, layer, names)
        x = graph.op("Add", [attended, x], f"{layer}.attention.add")
        x = graph.layer_norm(x, f"{layer}.{names.norm}", epsilon=epsilon)
        y = graph.dense(x, f"{layer}.intermediate.dense")
        y = graph.op("Gelu", [y], f"{layer}.intermediate.gelu")
        y = graph.dense(y, f"{layer}.output.dense")
        x = graph.op("Add", [y, x], f"{layer}.output.add")
        x = graph.layer_norm(x, f"{layer}.output.LayerNorm", epsilon=epsilon)
    return x


def _attention(
    graph: LayerGraph, x: ir.Value, bias: ir.Value, layer: str, names: _LayerNames
) -> ir.Value:
    """Multi-head self-attention; ``bias`` is added to the scaled scores."""

    def heads(part: str, perm: list[int]) -> ir.Value:
        name = f"{layer}.{part}"
        split = _int64(
            graph, "attention.split_heads", [0, 0, _hidden(graph) // _HEAD_SIZE, _HEAD_SIZE]
        )
        y = graph.op("Reshape", [graph.dense(x, name), split], f"{name}.split")
        return graph.op("Transpose", [y], f"{name}.transpose", perm=perm)

    query = heads(names.query, [0, 2, 1, 3])
    key = heads(names.key, [0, 2, 3, 1])
    value = heads(names.value, [0, 2, 1, 3])
    name = f"{layer}.attention"
    scores = graph.op("MatMul", [query, key], f"{name}.scores")
    root = graph.constant("attention.sqrt_head_size", np.float32(math.sqrt(_HEAD_SIZE)))
    scores = graph.op("Div", [scores, root], f"{name}.scale")
    scores = graph.op("Add", [scores, bias], f"{name}.bias")
    weights = graph.op("Softmax", [scores], f"{name}.softmax", axis=-1)
    context = graph.op("MatMul", [weights, value], f"{name}.context")
    context = graph.op("Transpose", [context], f"{name}.transpose", perm=[0, 2, 1, 3])
    merge = _int64(graph, "attention.merge_heads", [0, 0, _hidden(graph)])
    context = graph.op("Reshape", [context, merge], f"{name}.merge")
    return graph.dense(context, f"{layer}.{names.output}")
