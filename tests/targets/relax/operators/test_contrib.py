"""ONNX Runtime's own operators of transformers agree with it, all side by side, of open sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ingot.errors import UnsupportedOperatorError
from ingot.reference.session import Reference
from tests.targets.cpu.conftest import Compile, Compiled, Run

HEADS, SIZE, WIDTH, VOCABULARY, POSITIONS = 2, 4, 8, 10, 40
F, I32 = TensorProto.FLOAT, TensorProto.INT32
INPUTS: dict[str, tuple[int, tuple[Any, ...]]] = {
    "q": (F, ("B", "L", WIDTH)),
    "k": (F, ("B", "K", WIDTH)),
    "v": (F, ("B", "K", WIDTH)),
    "apart_k": (F, ("B", HEADS, "K", SIZE)),
    "apart_v": (F, ("B", HEADS, "K", SIZE)),
    "bias3": (F, (3 * WIDTH,)),
    "past": (F, (2, "B", HEADS, "P", SIZE)),
    "past_k": (F, ("B", HEADS, "P", SIZE)),
    "past_v": (F, ("B", HEADS, "P", SIZE)),
    "keys_mask": (I32, ("B", "K")),
    "own_mask": (I32, ("B", "L")),
    "lengths": (I32, ("B",)),
    "pairs_mask": (I32, ("B", "L", "K")),
    "scores": (F, (1, HEADS, "L", "K")),
    "weights": (F, (WIDTH, 3 * WIDTH)),
    "skip": (F, ("B", "L", WIDTH)),
    "one_skip": (F, (1, "L", WIDTH)),
    "scale": (F, (WIDTH,)),
    "shift": (F, (WIDTH,)),
    "ids": (I32, ("B", "L")),
    "segments": (I32, ("B", "L")),
    "words": (F, (VOCABULARY, WIDTH)),
    "places": (F, (POSITIONS, WIDTH)),
    "kinds": (F, (2, WIDTH)),
    "square": (F, ("B", WIDTH, "L")),
}
MS = "com.microsoft"
MHA = ("MultiHeadAttention", MS)
# Operator, domain, inputs, outputs (a dash is left out), attributes.
NODES: dict[str, tuple[str, str, str, str, dict[str, Any]]] = {
    "heads": (*MHA, "q k v", "y", {}),
    "heads, biased": (*MHA, "q k v bias3", "y", {"scale": 0.3}),
    "heads, a mask of keys": (*MHA, "q k v . keys_mask", "y", {"mask_filter_value": -50.0}),
    "heads, a mask of pairs": (*MHA, "q k v . pairs_mask", "y", {}),
    "heads, lengths": (*MHA, "q k v . lengths", "y", {}),
    "heads, scores": (*MHA, "q k v . . scores", "y", {}),
    "heads that are apart": (*MHA, "q apart_k apart_v", "y", {}),
    "heads, past": (*MHA, "q k v . . . past_k past_v", "y pk pv", {}),
    "heads, causal": (*MHA, "q q q", "y", {"unidirectional": 1}),
    "projecting": ("Attention", MS, "q weights bias3", "y", {}),
    "projecting, causal": ("Attention", MS, "q weights bias3", "y", {"unidirectional": 1}),
    "projecting, mask": ("Attention", MS, "q weights bias3 own_mask", "y", {}),
    "projecting, lengths": ("Attention", MS, "q weights bias3 lengths", "y", {}),
    "projecting, past": (
        "Attention", MS, "q weights bias3 . past", "y present", {"unidirectional": 1}),
    "skip": ("SkipLayerNormalization", MS, "q skip scale shift", "y", {}),
    "skip, sum": (
        "SkipLayerNormalization", MS, "q one_skip scale . shift", "y - - total", {}),
    "skip, simplified": ("SkipSimplifiedLayerNormalization", MS, "q skip scale", "y", {}),
    "skip, simplified, sum": (
        "SkipSimplifiedLayerNormalization", MS, "q skip scale shift", "y - - total",
        {"epsilon": 1e-6}),
    "simplified": ("SimplifiedLayerNormalization", "", "q scale", "y", {"axis": -1}),
    "embeddings": (
        "EmbedLayerNormalization", MS, "ids segments words places kinds scale shift own_mask",
        "y count", {}),
    "embeddings, sum": (
        "EmbedLayerNormalization", MS, "ids . words places . scale shift", "y - total", {}),
    "quick gelu": ("QuickGelu", MS, "q", "y", {"alpha": 1.5}),
    "bias gelu": ("BiasGelu", MS, "q shift", "y", {}),
    "fast gelu": ("FastGelu", MS, "q shift", "y", {}),
    "matmul": ("FusedMatMul", MS, "q k", "y", {"transB": 1, "alpha": 0.5}),
    "matmul, left": ("FusedMatMul", MS, "square k", "y", {"transA": 1, "transB": 1}),
}  # fmt: skip


def model(nodes: dict[str, tuple[str, str, str, str, dict[str, Any]]]) -> onnx.ModelProto:
    made, outputs = [], []
    for number, (operator, domain, inputs, names, attributes) in enumerate(nodes.values()):
        if "Attention" in operator:
            attributes = {"num_heads": HEADS, **attributes}
        written = ["" if name == "-" else f"{name}_{number}" for name in names.split()]
        read = ["" if name == "." else name for name in inputs.split()]
        made.append(
            helper.make_node(operator, read, written, f"n{number}", domain=domain, **attributes)
        )
        outputs += [
            helper.make_tensor_value_info(name, I32 if name.startswith("count") else F, None)
            for name in written
            if name
        ]
    used = {name for node in made for name in node.input}
    given = [helper.make_tensor_value_info(n, *INPUTS[n]) for n in INPUTS if n in used]
    graph = helper.make_graph(made, "g", given, outputs)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MS, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def arrays(proto: onnx.ModelProto, **sizes: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    most = {"ids": VOCABULARY, "lengths": 0, "segments": 2}
    result = {}
    for value in proto.graph.input:
        dtype, letters = INPUTS[value.name]
        shape = [sizes.get(letter, letter) for letter in letters]
        if dtype == F:
            result[value.name] = generator.normal(size=shape).astype(np.float32)
        else:
            low, high = (1, sizes["K"] + 1) if value.name == "lengths" else (0, 2)
            high = most.get(value.name) or high
            result[value.name] = generator.integers(low, high, shape).astype(np.int32)
    return result


@pytest.fixture(scope="module")
def compiled(compile_for_cpu: Compile) -> Compiled:
    return compile_for_cpu(model(NODES))


# ONNX Runtime wants as many keys as queries where a mask or a past is given.
@pytest.mark.parametrize("sizes", [(2, 5, 5, 3), (1, 1, 1, 9), (3, 17, 17, 0)])
def test_agree(compiled: Compiled, sizes: tuple[int, ...]) -> None:
    proto = model(NODES)
    inputs = arrays(proto, **dict(zip("BLKP", sizes, strict=True)))
    expected = Reference(proto).run(inputs)
    for (name, right), actual in zip(expected.items(), compiled(*inputs.values()), strict=True):
        form = list(NODES)[int(name.rpartition("_")[2])]
        assert (actual.shape, actual.dtype) == (right.shape, right.dtype), form
        np.testing.assert_allclose(actual, right, atol=2e-5, rtol=1e-5, err_msg=f"{form}: {name}")


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        ((*MHA, "q", "y", {}), "packed inputs"),
        ((*MHA, "q k v", "y pk pv qk", {}), "gives out its products"),
        (("Attention", MS, "q weights bias3", "y", {"do_rotary": 1}), "rotates"),
        (("SkipLayerNormalization", MS, "q skip scale shift", "y mean", {}), "mean and deviation"),
        (("FusedMatMul", MS, "q k", "y", {"transBatchA": 1}), "moves its batch dimensions"),
    ],
)
def test_forms_that_are_not_lowered_are_named(run_on_cpu: Run, node: Any, reason: str) -> None:
    with pytest.raises(UnsupportedOperatorError, match=f"node 'n0'.*{reason}"):
        run_on_cpu(model({"": node}))
