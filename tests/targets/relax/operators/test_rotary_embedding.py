"""Both rotary embeddings agree with ONNX Runtime, in all their forms side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ingot.errors import UnsupportedOperatorError
from ingot.reference.session import Reference
from tests.targets.cpu.conftest import Compile, Run

BATCH, LENGTH, HEADS, SIZE, POSITIONS = 2, 5, 3, 12, 40
CONTRIB = "com.microsoft"
INPUTS: dict[str, tuple[int, tuple[Any, ...]]] = {
    "x": (TensorProto.FLOAT, ("B", HEADS, "L", SIZE)),
    "joined": (TensorProto.FLOAT, ("B", "L", HEADS * SIZE)),
    "cos": (TensorProto.FLOAT, (POSITIONS, SIZE // 2)),
    "sin": (TensorProto.FLOAT, (POSITIONS, SIZE // 2)),
    "cos4": (TensorProto.FLOAT, (POSITIONS, 4)),
    "sin4": (TensorProto.FLOAT, (POSITIONS, 4)),
    "own_cos": (TensorProto.FLOAT, ("B", "L", SIZE // 2)),
    "own_sin": (TensorProto.FLOAT, ("B", "L", SIZE // 2)),
    "ids": (TensorProto.INT64, ("B", "L")),
    "first": (TensorProto.INT64, (1,)),
}
# Inputs, domain, attributes.
FORMS: dict[str, tuple[str, str, dict[str, int]]] = {
    "halves": ("x cos sin ids", "", {}),
    "neighbours": ("x cos sin ids", "", {"interleaved": 1}),
    "part of a head": ("x cos4 sin4 ids", "", {"rotary_embedding_dim": 8}),
    "part, neighbours": (
        "x cos4 sin4 ids",
        "",
        {"rotary_embedding_dim": 8, "interleaved": 1},
    ),
    "without positions": ("x own_cos own_sin", "", {}),
    "heads joined": ("joined cos sin ids", "", {"num_heads": HEADS}),
    "joined, neighbours": ("joined cos sin ids", "", {"num_heads": HEADS, "interleaved": 1}),
    "joined, part of a head": (
        "joined cos4 sin4 ids",
        "",
        {"num_heads": HEADS, "rotary_embedding_dim": 8},
    ),
    "contrib": ("x ids cos sin", CONTRIB, {}),
    "contrib, heads joined": ("joined ids cos sin", CONTRIB, {}),
    "contrib, part of a head": (
        "joined ids cos4 sin4",
        CONTRIB,
        {"num_heads": HEADS, "rotary_embedding_dim": 8},
    ),
    "contrib, first position": ("joined first cos sin", CONTRIB, {"interleaved": 1}),
}
OPEN = {"B": BATCH, "L": LENGTH}


def model(forms: dict[str, Any], sizes: dict[str, int]) -> onnx.ModelProto:
    nodes = [
        helper.make_node(
            "RotaryEmbedding", names.split(), [f"y{number}"], f"rope_{number}", domain=domain,
            **attributes,
        )
        for number, (names, domain, attributes) in enumerate(forms.values())
    ]  # fmt: skip
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info(name, dtype, [sizes.get(d, d) for d in shape])
            for name, (dtype, shape) in INPUTS.items()
            if name in used
        ],
        [helper.make_tensor_value_info(n.output[0], TensorProto.FLOAT, None) for n in nodes],
    )
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid(CONTRIB, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=11)


def arrays(proto: onnx.ModelProto, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    result = {}
    for value in proto.graph.input:
        dtype, letters = INPUTS[value.name]
        shape = [sizes.get(letter, letter) for letter in letters]
        floats = dtype == TensorProto.FLOAT
        last = POSITIONS if value.name == "ids" else POSITIONS - sizes["L"]
        result[value.name] = (
            generator.normal(size=shape).astype(np.float32)
            if floats
            else generator.integers(0, last, shape)
        )
    return result


@pytest.mark.parametrize("fixed", [False, True])
def test_forms(compile_for_cpu: Compile, fixed: bool) -> None:
    proto = model(FORMS, OPEN if fixed else {})
    compiled = compile_for_cpu(proto)
    for sizes in [OPEN] if fixed else [OPEN, {"B": 1, "L": 1}, {"B": 3, "L": 17}]:
        inputs = arrays(proto, sizes)
        expected = Reference(proto).run(inputs)
        for (right, actual), form in zip(
            zip(expected.values(), compiled(*inputs.values()), strict=True), FORMS, strict=True
        ):
            np.testing.assert_allclose(actual, right, atol=1e-5, err_msg=form)


@pytest.mark.parametrize("size", [4, 8, 16, 64])
def test_a_head_of_any_size_is_rotated_as_a_whole(run_on_cpu: Run, size: int) -> None:
    # Heads of eight, four to a row: LLVM's own vectors of a choice that recurs within them read
    # what lies behind.
    shape = (BATCH, 3, 4 * size)
    node = helper.make_node("RotaryEmbedding", ["x", "cos", "sin", "ids"], ["y"], num_heads=4)
    inputs = {
        "x": np.random.default_rng(0).normal(size=shape).astype(np.float32),
        "cos": np.random.default_rng(1).normal(size=(POSITIONS, size // 2)).astype(np.float32),
        "sin": np.random.default_rng(2).normal(size=(POSITIONS, size // 2)).astype(np.float32),
        "ids": np.arange(BATCH * 3).reshape(BATCH, 3),
    }
    graph = helper.make_graph(
        [node],
        "g",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in inputs.items()
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    (actual,) = run_on_cpu(proto, *inputs.values())
    np.testing.assert_allclose(actual, Reference(proto).run(inputs)["y"], atol=1e-5)


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        (("x cos sin ids", "", {"rotary_embedding_dim": 14}), "14 of 12 features"),
        (("joined cos sin ids", "", {"num_heads": 5}), "36 cannot be split into 5 heads"),
        (("x ids cos sin", CONTRIB, {"is_packed_batching": 1}), "packs batches"),
    ],
)
def test_forms_that_are_not_lowered_are_named(run_on_cpu: Run, form: Any, reason: str) -> None:
    with pytest.raises(UnsupportedOperatorError, match=f"node 'rope_0'.*{reason}"):
        run_on_cpu(model({"": form}, OPEN))
