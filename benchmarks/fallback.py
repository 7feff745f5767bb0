"""Latency of models that ONNX Runtime runs whole, through Ingot and by itself.

Nothing of these models has a lowering, so that their artifacts hold no code. What the ratio shows
is what the session adds to a call:

    python benchmarks/fallback.py --threads 1

or some of them: --models loop,nms.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.cpu_fp32 import measure, tabulate
from benchmarks.latency import latency_options, run_built
from ingot.compiler.build import compile_model
from ingot.errors import IngotError
from ingot.progress import Progress
from ingot.report.bench import BenchRow
from ingot.runtime.manifest import CODE_MEMBER

_OPSETS = (("", 20), ("ai.onnx.ml", 3), ("com.microsoft", 1))


def trees(count: int = 100, depth: int = 6, features: int = 32) -> onnx.ModelProto:
    """Returns a regressor of full binary trees on a batch of 64."""
    generator = np.random.default_rng(0)
    inner, size = 2**depth - 1, 2 ** (depth + 1) - 1
    ids = np.arange(size)
    branches = ids < inner
    attributes: dict[str, list[float] | list[int] | list[str]] = {
        "nodes_treeids": np.repeat(np.arange(count), size).tolist(),
        "nodes_nodeids": np.tile(ids, count).tolist(),
        "nodes_featureids": generator.integers(0, features, count * size).tolist(),
        "nodes_values": generator.normal(size=count * size).tolist(),
        "nodes_modes": ["BRANCH_LEQ" if branch else "LEAF" for branch in branches] * count,
        "nodes_truenodeids": np.tile(np.where(branches, 2 * ids + 1, 0), count).tolist(),
        "nodes_falsenodeids": np.tile(np.where(branches, 2 * ids + 2, 0), count).tolist(),
        "target_treeids": np.repeat(np.arange(count), size - inner).tolist(),
        "target_nodeids": np.tile(ids[inner:], count).tolist(),
        "target_ids": [0] * (count * (size - inner)),
        "target_weights": generator.normal(size=count * (size - inner)).tolist(),
    }
    node = helper.make_node(
        "TreeEnsembleRegressor",
        ["x"],
        ["y"],
        "trees",
        domain="ai.onnx.ml",
        n_targets=1,
        **attributes,
    )
    return _model([node], (64, features), (64, 1))


def loop(steps: int = 50, units: int = 256) -> onnx.ModelProto:
    """Returns a state that goes through a product and a tanh until it has moved little."""
    weights = np.random.default_rng(0).normal(size=(units, units)).astype(np.float32)
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["h", "w"], ["product"]),
            helper.make_node("Tanh", ["product"], ["next"]),
            helper.make_node("Sub", ["next", "h"], ["moved"]),
            helper.make_node("ReduceMax", ["moved"], ["most"], keepdims=0),
            helper.make_node("Greater", ["most", "little"], ["more"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("h", TensorProto.FLOAT, [1, units]),
        ],
        [
            helper.make_tensor_value_info("more", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [1, units]),
        ],
    )
    constants = {
        "w": weights / np.float32(np.sqrt(units)),
        "little": np.float32(1e-9),
        "count": np.int64(steps),
        "yes": np.bool_(True),
    }
    node = helper.make_node("Loop", ["count", "yes", "x"], ["y"], "loop", body=body)
    return _model([node], (1, units), (1, units), constants)


def weights_of_four_bits(layers: int = 8, units: int = 1024, block: int = 32) -> onnx.ModelProto:
    """Returns a chain of products with weights of 4 bits, one scale for each block."""
    generator = np.random.default_rng(0)
    nodes, constants = [], {}
    for index in range(layers):
        shape = (units, units // block, block // 2)
        constants[f"w{index}"] = generator.integers(0, 256, shape).astype(np.uint8)
        scales = generator.uniform(0.5, 1.5, units * units // block) / (8 * np.sqrt(units))
        constants[f"s{index}"] = scales.astype(np.float32)
        source = "x" if index == 0 else f"h{index}"
        nodes.append(
            helper.make_node(
                "MatMulNBits", [source, f"w{index}", f"s{index}"],
                ["y" if index == layers - 1 else f"h{index + 1}"], f"layer{index}",
                domain="com.microsoft", K=units, N=units, bits=4, block_size=block,
            )
        )  # fmt: skip
    return _model(nodes, (1, units), (1, units), constants)


def boxes(count: int = 1000, classes: int = 8) -> onnx.ModelProto:
    """Returns the suppression of boxes that overlap, each box in every class by its own score."""
    scores = np.random.default_rng(0).uniform(size=(1, classes, count)).astype(np.float32)
    constants = {"scores": scores, "most": np.int64(100), "overlap": np.float32(0.5)}
    node = helper.make_node(
        "NonMaxSuppression", ["x", "scores", "most", "overlap"], ["y"], "nms", center_point_box=1
    )
    return _model([node], (1, count, 4), ("M", 3), constants, TensorProto.INT64)


def _model(
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[int],
    result: Sequence[int | str],
    constants: Mapping[str, np.ndarray | np.generic] | None = None,
    dtype: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "fallback",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", dtype, result)],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in _OPSETS]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


NETWORKS: Mapping[str, Callable[[], onnx.ModelProto]] = {
    "trees": trees,
    "loop": loop,
    "weights_of_four_bits": weights_of_four_bits,
    "nms": boxes,
}


def measure_whole(
    model: str, batch: int, options: argparse.Namespace, tell: Progress
) -> list[BenchRow]:
    """Returns the rows of a model that ONNX Runtime runs whole.

    Raises:
        IngotError: A part of it is compiled.
    """
    path = Path(model)
    artifact = compile_model(path, path.with_suffix(".ingot"))
    if CODE_MEMBER in artifact.manifest.members:
        raise IngotError(f"{path.stem} is compiled by now: take a model that is not")
    return measure(model, batch, options, tell)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints the table and writes the JSON; returns the exit code."""
    parser = latency_options(__doc__, ("onnxruntime",))
    return run_built(parser, arguments, NETWORKS, measure_whole, tabulate)


if __name__ == "__main__":
    sys.exit(main())
