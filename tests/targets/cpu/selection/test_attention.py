"""Which forms of attention become one kernel, and that those which do not stay right."""

from __future__ import annotations

import collections
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import tvm
from onnx import TensorProto, helper, numpy_helper
from onnx_ir.passes.common import ShapeInferencePass
from tvm import relax, tirx

from ingot.reference.session import Reference
from ingot.targets.cpu.machine import describe_cpu
from ingot.targets.cpu.schedules.emission import FAMILY
from ingot.targets.cpu.selection import select_kernels
from ingot.targets.relax.importer import import_graph
from tests.targets.cpu.conftest import Run

BATCH, HEADS, QUERIES, KEYS, FEATURES = 2, 3, 5, 7, 8
WIDTH = HEADS * FEATURES
make = helper.make_node


def model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int | str, ...]],
    weights: dict[str, np.ndarray] | None = None,
    outputs: tuple[str, ...] = ("y",),
) -> onnx.ModelProto:
    for number, node in enumerate(nodes):
        node.name = f"{node.op_type}_{number}"
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(w), n) for n, w in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def selected(proto: onnx.ModelProto) -> tuple[collections.Counter[str], set[str]]:
    """Returns how many kernels of each family are called, and the Relax operators that are left."""
    graph = ir.from_proto(proto)
    ShapeInferencePass()(graph)
    module = relax.transform.CanonicalizeBindings()(import_graph(graph))
    module = select_kernels(module, describe_cpu("native", threads=2))
    families: collections.Counter[str] = collections.Counter()
    left = set()

    def visit(expression: relax.Expr) -> None:
        if not isinstance(expression, relax.Call) or not isinstance(expression.op, tvm.ir.Op):
            return
        if expression.op.name == "relax.call_tir":
            function = module[expression.args[0]]
            assert isinstance(function, tirx.PrimFunc)
            families[str(function.attrs.get(FAMILY, "other"))] += 1
        else:
            left.add(expression.op.name)

    relax.analysis.post_order_visit(module["main"], visit)
    return families, left


def agrees(run: Run, proto: onnx.ModelProto, *shapes: tuple[int, ...]) -> None:
    generator = np.random.default_rng(0)
    arrays = [generator.normal(size=shape).astype(np.float32) for shape in shapes]
    names = [value.name for value in proto.graph.input]
    expected = Reference(proto).run(dict(zip(names, arrays, strict=True)))
    for actual, name in zip(run(proto, *arrays), expected, strict=True):
        np.testing.assert_allclose(actual, expected[name], atol=1e-5)


def split(name: str, perm: tuple[int, ...]) -> list[onnx.NodeProto]:
    """Splits the heads of [batch, positions, heads · features] and transposes."""
    return [
        make("Reshape", [name, "apart"], [f"{name}_apart"]),
        make("Transpose", [f"{name}_apart"], [f"{name}_heads"], perm=perm),
    ]


def encoder_attention(
    core: list[onnx.NodeProto],
    queries: int | str = QUERIES,
    keys: int | str = KEYS,
    batch: int | str = BATCH,
    mask: tuple[int | str, ...] | None = None,
    **weights: Any,
) -> onnx.ModelProto:
    """Attention as exporters write it; ``core`` makes ``scores`` of ``q_heads``, ``k_heads``."""
    nodes = [
        *split("q", (0, 2, 1, 3)),
        *split("k", (0, 2, 3, 1)),
        *split("v", (0, 2, 1, 3)),
        *core,
        make("Softmax", ["scores"], ["weights"], axis=-1),
        make("MatMul", ["weights", "v_heads"], ["context"]),
        make("Transpose", ["context"], ["context_apart"], perm=(0, 2, 1, 3)),
        make("Reshape", ["context_apart", "joined"], ["y"]),
    ]
    inputs: dict[str, tuple[int | str, ...]] = {
        "q": (batch, queries, WIDTH),
        "k": (batch, keys, WIDTH),
        "v": (batch, keys, WIDTH),
    }
    if mask is not None:
        inputs["mask"] = mask
    shapes = {
        "apart": np.array([0, 0, HEADS, FEATURES]),
        "joined": np.array([0, 0, WIDTH]),
    }
    return model(nodes, inputs, shapes | weights)


def scaled_after() -> dict[str, Any]:
    return {
        "core": [
            make("MatMul", ["q_heads", "k_heads"], ["product"]),
            make("Div", ["product", "root"], ["scores"]),
        ],
        "root": np.float32(FEATURES**0.5),
    }


def scaled_before() -> dict[str, Any]:
    return {
        "core": [
            make("Mul", ["q_heads", "root"], ["q_scaled"]),
            make("Mul", ["root", "k_heads"], ["k_scaled"]),
            make("MatMul", ["q_scaled", "k_scaled"], ["scores"]),
        ],
        "root": np.float32(FEATURES**-0.25),
    }


def masked(first: bool = False) -> dict[str, Any]:
    core = scaled_after()["core"]
    core[1].output[0] = "scaled"
    operands = ["mask", "scaled"] if first else ["scaled", "mask"]
    return {**scaled_after(), "core": [*core, make("Add", operands, ["scores"])]}


FORMS = {
    "scaled after": (scaled_after(), None),
    "scaled before": (scaled_before(), None),
    "mask of keys": (masked(), (BATCH, 1, 1, KEYS)),
    "mask of queries and keys": (masked(first=True), (QUERIES, KEYS)),
    "mask of everything": (masked(), (BATCH, HEADS, QUERIES, KEYS)),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("symbolic", [False, True])
def test_heads_are_split_and_joined_by_the_kernel(
    run_on_cpu: Run, form: str, symbolic: bool
) -> None:
    options, mask = FORMS[form]
    symbols = {"queries": "Q", "keys": "K", "batch": "N"} if symbolic else {}
    names = {BATCH: "N", QUERIES: "Q", KEYS: "K"} if symbolic else {}
    declared = None if mask is None else tuple(names.get(size, size) for size in mask)
    proto = encoder_attention(mask=declared, **options, **symbols)
    assert selected(proto) == ({"attention": 1}, set())
    q, k = (BATCH, QUERIES, WIDTH), (BATCH, KEYS, WIDTH)
    agrees(run_on_cpu, proto, q, k, k, *([] if mask is None else [mask]))


def four_dimensional(
    nodes: list[onnx.NodeProto], outputs: tuple[str, ...] = ("y",), **weights: Any
) -> onnx.ModelProto:
    inputs: dict[str, tuple[int | str, ...]] = {
        "q": (BATCH, HEADS, QUERIES, FEATURES),
        "k": (BATCH, HEADS, FEATURES, KEYS),
        "v": (BATCH, HEADS, KEYS, FEATURES),
    }
    return model(nodes, inputs, weights, outputs)


SHAPES = [(BATCH, HEADS, QUERIES, FEATURES), (BATCH, HEADS, FEATURES, KEYS),
          (BATCH, HEADS, KEYS, FEATURES)]  # fmt: skip


def plain() -> list[onnx.NodeProto]:
    return [
        make("MatMul", ["q", "k"], ["scores"]),
        make("Softmax", ["scores"], ["weights"], axis=-1),
        make("MatMul", ["weights", "v"], ["y"]),
    ]


def test_keys_that_come_transposed_and_a_result_by_heads(run_on_cpu: Run) -> None:
    proto = four_dimensional(plain())
    assert selected(proto) == ({"attention": 1}, set())
    agrees(run_on_cpu, proto, *SHAPES)


def test_three_dimensions(run_on_cpu: Run) -> None:
    inputs = {"q": ("N", 5, 8), "k": ("N", 8, 7), "v": ("N", 7, 6)}
    proto = model(plain(), inputs)
    assert selected(proto) == ({"attention": 1}, set())
    agrees(run_on_cpu, proto, (3, 5, 8), (3, 8, 7), (3, 7, 6))


def test_two_layers_of_the_same_shape_share_a_kernel() -> None:
    options, _ = FORMS["scaled after"]
    proto = encoder_attention(**options, queries=KEYS)
    nodes = proto.graph.node
    second = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    for node in second:
        node.name += "_second"
        node.input[:] = ["y" if name == "q" else f"{name}_2" if "_" in name or name in
                         ("product", "scores", "weights", "context") else name
                         for name in node.input]  # fmt: skip
        node.output[:] = [f"{name}_2" for name in node.output]
    proto.graph.node.extend(second)
    proto.graph.output[0].name = "y_2"
    graph = ir.from_proto(proto)
    ShapeInferencePass()(graph)
    module = relax.transform.CanonicalizeBindings()(import_graph(graph))
    module = select_kernels(module, describe_cpu("native", threads=2))
    assert sum(isinstance(f, tirx.PrimFunc) for f in module.functions.values()) == 1


@pytest.mark.parametrize(
    "case", ["weights are an output", "softmax over queries", "keys are constant", "factor per key"]
)
def test_what_is_left_to_other_rules_stays_right(run_on_cpu: Run, case: str) -> None:
    nodes, outputs, weights = plain(), ("y",), {}
    shapes = list(SHAPES)
    if case == "weights are an output":
        outputs = ("y", "weights")
    elif case == "softmax over queries":
        nodes[1] = make("Softmax", ["scores"], ["weights"], axis=-2)
    elif case == "keys are constant":
        weights["c"] = np.random.default_rng(1).normal(size=SHAPES[1]).astype(np.float32)
        nodes = [make("Add", ["q", "q"], ["twice"]), *nodes]
        nodes[1] = make("MatMul", ["twice", "c"], ["scores"])
    else:
        weights["c"] = np.random.default_rng(1).normal(size=(KEYS,)).astype(np.float32)
        nodes[:1] = [
            make("MatMul", ["q", "k"], ["product"]),
            make("Mul", ["product", "c"], ["scores"]),
        ]
    proto = four_dimensional(nodes, outputs, **weights)
    families, _ = selected(proto)
    assert "attention" not in families
    agrees(run_on_cpu, proto, *shapes)
