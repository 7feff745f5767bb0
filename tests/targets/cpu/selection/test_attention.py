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
from ingot.targets.cpu.families import PHASES
from ingot.targets.cpu.kernels.writing.emission import FAMILY
from ingot.targets.cpu.machine import describe_cpu
from ingot.targets.cpu.selection.selector import select_kernels
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
    module = select_kernels(module, describe_cpu("native", threads=2), PHASES)
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


GROUP = 2


def grouped(repeat: list[onnx.NodeProto], k: tuple[Any, ...], v: tuple[Any, ...]) -> Any:
    """Attention whose ``k`` and ``v`` become ``keys`` and ``values`` of all heads of queries."""
    nodes = [
        *repeat,
        make("Transpose", ["keys"], ["turned"], perm=(0, 1, 3, 2)),
        make("MatMul", ["q", "turned"], ["scores"]),
        make("Softmax", ["scores"], ["weights"], axis=-1),
        make("MatMul", ["weights", "values"], ["context"]),
        make("Transpose", ["context"], ["apart"], perm=(0, 2, 1, 3)),
        make("Reshape", ["apart", "joined"], ["y"]),
    ]
    inputs = {"q": (k[0], 4, "Q", FEATURES), "k": k, "v": v}
    return model(nodes, inputs, {"joined": np.array([0, 0, 4 * FEATURES])})


def repeated(name: str, to: str, heads: int) -> list[onnx.NodeProto]:
    """Repeats heads as exporters write it."""
    group = 4 // heads
    shapes = {
        "wide": np.array([1, heads, group, 1, FEATURES]),
        "all": np.array([0, 4, -1, FEATURES]),
    }
    constants = [
        make("Constant", [], [f"{name}_{key}"], value=numpy_helper.from_array(value))
        for key, value in {"axis": np.array([2]), **shapes}.items()
    ]
    return [
        *constants,
        make("Unsqueeze", [name, f"{name}_axis"], [f"{name}_apart"]),
        make("Expand", [f"{name}_apart", f"{name}_wide"], [f"{name}_repeated"]),
        make("Reshape", [f"{name}_repeated", f"{name}_all"], [to]),
    ]


@pytest.mark.parametrize("batch", ["B", 2])
@pytest.mark.parametrize("heads", [2, 1])
def test_heads_that_share_keys_are_not_repeated(
    run_on_cpu: Run, heads: int, batch: int | str
) -> None:
    k, v = (batch, heads, "K", FEATURES), (batch, heads, "K", FEATURES)
    proto = grouped([*repeated("k", "keys", heads), *repeated("v", "values", heads)], k, v)
    assert selected(proto) == ({"attention": 1}, set())
    agrees(run_on_cpu, proto, (2, 4, 5, FEATURES), *[(2, heads, 7, FEATURES)] * 2)


def test_keys_of_one_head_that_broadcast(run_on_cpu: Run) -> None:
    same = [make("Identity", ["k"], ["keys"]), make("Identity", ["v"], ["values"])]
    proto = grouped(same, ("B", 1, "K", FEATURES), ("B", 1, "K", FEATURES))
    assert selected(proto) == ({"attention": 1}, set())
    agrees(run_on_cpu, proto, (2, 4, 1, FEATURES), *[(2, 1, 9, FEATURES)] * 2)


def test_keys_that_are_turned_in_three_dimensions(run_on_cpu: Run) -> None:
    nodes = [
        make("Reshape", ["k", "flat"], ["k_flat"]),
        make("Transpose", ["k_flat"], ["k_turned"], perm=(0, 2, 1)),
        make("Reshape", ["k_turned", "back"], ["t"]),
        make("MatMul", ["q", "t"], ["scores"]),
        make("Softmax", ["scores"], ["weights"], axis=-1),
        make("MatMul", ["weights", "v"], ["y"]),
    ]
    shape = (BATCH, HEADS, KEYS, FEATURES)
    inputs = {"q": (BATCH, HEADS, QUERIES, FEATURES), "k": shape, "v": shape}
    shapes = {
        "flat": np.array([-1, KEYS, FEATURES]),
        "back": np.array([BATCH, HEADS, FEATURES, KEYS]),
    }
    proto = model(nodes, inputs, shapes)
    assert selected(proto) == ({"attention": 1}, set())
    agrees(run_on_cpu, proto, inputs["q"], shape, shape)


MASKED = {
    "select": ([make("Where", ["b", "product", "lowest"], ["scores"])], {"relax.where"}),
    "select the other way": (
        [make("Where", ["b", "low", "product"], ["scores"])],
        {"relax.where"},
    ),
    "select and add": (
        [
            make("Where", ["b", "product", "lowest"], ["selected"]),
            make("Add", ["selected", "m"], ["scores"]),
        ],
        {"relax.where", "relax.add"},
    ),
    "two masks": (
        [make("Add", ["product", "m"], ["one"]), make("Add", ["n", "one"], ["scores"])],
        {"relax.add"},
    ),
    "soft cap": (
        [
            make("Div", ["product", "cap"], ["small"]),
            make("Tanh", ["small"], ["bounded"]),
            make("Mul", ["bounded", "cap"], ["capped"]),
            make("Add", ["capped", "m"], ["scores"]),
        ],
        set(),
    ),
}


def masked_model(form: str, guarded: bool = False, queries: int | str = QUERIES):
    nodes = [
        make("Transpose", ["k"], ["turned"], perm=(0, 1, 3, 2)),
        make("MatMul", ["q", "turned"], ["product"]),
        *MASKED[form][0],
        make("Softmax", ["scores"], ["softmax"], axis=-1),
        make("IsNaN", ["softmax"], ["none"]),
        make("Where", ["none", "zero", "softmax"], ["guarded"]),
        make("MatMul", ["guarded" if guarded else "softmax", "v"], ["y"]),
    ]
    if not guarded:
        del nodes[-3:-1]
    inputs = {
        "q": (BATCH, HEADS, queries, FEATURES),
        "k": (BATCH, HEADS, "K", FEATURES),
        "v": (BATCH, HEADS, "K", FEATURES),
        "b": (BATCH, 1, queries, "K"),
        "m": (1, HEADS, queries, "K"),
        "n": (BATCH, 1, 1, "K"),
    }
    numbers = {"lowest": np.finfo(np.float32).min, "low": -9.0, "cap": 0.5, "zero": 0.0}
    proto = model(nodes, inputs, {name: np.float32(value) for name, value in numbers.items()})
    used = {name for node in proto.graph.node for name in node.input}
    kept = [value for value in proto.graph.input if value.name in used]
    for value in kept:
        if value.name == "b":
            value.type.tensor_type.elem_type = TensorProto.BOOL
    del proto.graph.input[:]
    proto.graph.input.extend(kept)
    return proto


@pytest.mark.parametrize("form", MASKED)
def test_masks_and_a_soft_cap(run_on_cpu: Run, form: str) -> None:
    proto = masked_model(form)
    assert selected(proto) == ({"attention": 1}, MASKED[form][1])
    sizes = {"K": KEYS}
    inputs = {}
    generator = np.random.default_rng(0)
    for value in proto.graph.input:
        dims = value.type.tensor_type.shape.dim
        shape = [sizes.get(dim.dim_param, dim.dim_value) for dim in dims]
        array = generator.normal(size=shape).astype(np.float32)
        inputs[value.name] = array > -0.5 if value.name == "b" else array
    if "b" in inputs:
        inputs["b"][0, 0, 1] = False  # a row without any key is a mean
    expected = Reference(proto).run(inputs)["y"]
    (actual,) = run_on_cpu(proto, *inputs.values())
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("guarded", [False, True])
def test_a_row_without_any_key_is_as_the_model_says(run_on_cpu: Run, guarded: bool) -> None:
    proto = masked_model("two masks", guarded)
    assert selected(proto)[0] == {"attention": 1}
    shapes = [(BATCH, HEADS, QUERIES, FEATURES), *[(BATCH, HEADS, KEYS, FEATURES)] * 2]
    generator = np.random.default_rng(0)
    q, k, v = (generator.normal(size=shape).astype(np.float32) for shape in shapes)
    m = generator.normal(size=(1, HEADS, QUERIES, KEYS)).astype(np.float32)
    n = np.zeros((BATCH, 1, 1, KEYS), np.float32)
    n[1] = -np.inf
    expected = Reference(proto).run({"q": q, "k": k, "v": v, "m": m, "n": n})["y"]
    (actual,) = run_on_cpu(proto, q, k, v, m, n)
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    assert np.isnan(expected[1]).all() != guarded


@pytest.mark.parametrize("past", [False, True])
def test_the_standard_operator_becomes_one_kernel(past: bool) -> None:
    names = ["q", "k", "v", *(["", "pk", "pv"] if past else [])]
    outputs = ["y", *(["present_k", "present_v"] if past else [])]
    shape = ("B", 2, "S", FEATURES)
    inputs = {"q": ("B", 4, "S", FEATURES), "k": shape, "v": shape}
    if past:
        inputs |= {"pk": ("B", 2, "P", FEATURES), "pv": ("B", 2, "P", FEATURES)}
    proto = model([make("Attention", names, outputs, is_causal=1)], inputs, outputs=tuple(outputs))
    proto.opset_import[0].version = 23
    assert selected(proto) == ({"attention": 1}, {"relax.concat"} if past else set())


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
    module = select_kernels(module, describe_cpu("native", threads=2), PHASES)
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
