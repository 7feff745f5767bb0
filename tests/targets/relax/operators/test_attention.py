"""Attention in all its forms agrees with ONNX Runtime, or where that refuses one, with ONNX."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from ingot.errors import UnsupportedOperatorError
from ingot.reference.session import Reference
from tests.targets.cpu.conftest import Compile, Compiled, Run
from tests.targets.relax.sizes import assert_same, parse

BATCH, HEADS, KEY_HEADS, QUERIES, KEYS, PAST, SIZE, VALUE_SIZE = 2, 4, 2, 5, 7, 3, 8, 6
TOTAL = PAST + KEYS
TYPES = {"float": TensorProto.FLOAT, "bool": TensorProto.BOOL, "int64": TensorProto.INT64}
# Name, element type, and dimensions; letters are open in the model of open sizes.
INPUTS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "q": ("float", ("B", HEADS, "Q", SIZE)),
    "k": ("float", ("B", HEADS, "K", SIZE)),
    "v": ("float", ("B", HEADS, "K", VALUE_SIZE)),
    "k2": ("float", ("B", KEY_HEADS, "K", SIZE)),
    "v2": ("float", ("B", KEY_HEADS, "K", VALUE_SIZE)),
    "k1": ("float", ("B", 1, "K", SIZE)),
    "v1": ("float", ("B", 1, "K", VALUE_SIZE)),
    "q3": ("float", ("B", "Q", HEADS * SIZE)),
    "k3": ("float", ("B", "K", KEY_HEADS * SIZE)),
    "v3": ("float", ("B", "K", KEY_HEADS * VALUE_SIZE)),
    "past_k": ("float", ("B", HEADS, "P", SIZE)),
    "past_v": ("float", ("B", HEADS, "P", VALUE_SIZE)),
    "past_k2": ("float", ("B", KEY_HEADS, "P", SIZE)),
    "past_v2": ("float", ("B", KEY_HEADS, "P", VALUE_SIZE)),
    "qk": ("float", ("Q", "K")),
    "bqk": ("bool", ("B", 1, "Q", "K")),
    "hqk": ("float", (HEADS, "Q", "K")),
    "bhqk": ("bool", ("B", HEADS, "Q", "K")),
    "qt": ("bool", ("Q", "T")),
    "bqt": ("float", ("B", 1, "Q", "T")),
    "lengths": ("int64", ("B",)),
}
OPEN = {"B": BATCH, "Q": QUERIES, "K": KEYS, "P": PAST, "T": TOTAL}


@dataclasses.dataclass(frozen=True)
class Form:
    """A node: its inputs, how many outputs, its attributes."""

    inputs: str
    outputs: int = 1
    attributes: dict[str, Any] = dataclasses.field(default_factory=dict)


JOINED = {"q_num_heads": HEADS, "kv_num_heads": KEY_HEADS}
FORMS = {
    "plain": Form("q k v"),
    "scaled": Form("q k v", attributes={"scale": 0.3}),
    "grouped queries": Form("q k2 v2"),
    "one key head": Form("q k1 v1"),
    "heads joined": Form("q3 k3 v3", attributes=JOINED),
    "causal": Form("q k v", attributes={"is_causal": 1}),
    "causal, grouped": Form("q k2 v2", attributes={"is_causal": 1}),
    "mask of queries and keys": Form("q k v qk"),
    "boolean mask of examples": Form("q k v bqk"),
    "mask of heads": Form("q k v hqk"),
    "boolean mask of everything": Form("q k2 v2 bhqk"),
    "causal and a mask": Form("q k v qk", attributes={"is_causal": 1}),
    "past": Form("q k v . past_k past_v", 3),
    "past, grouped, causal": Form("q k2 v2 . past_k2 past_v2", 3, {"is_causal": 1}),
    "past, heads joined": Form("q3 k3 v3 . past_k2 past_v2", 3, {**JOINED, "is_causal": 1}),
    "past and a boolean mask": Form("q k v qt past_k past_v", 3),
    "past and a mask": Form("q k2 v2 bqt past_k2 past_v2", 3, {"is_causal": 1}),
    "soft cap": Form("q k v", attributes={"softcap": 0.7}),
    "soft cap and a mask": Form("q k v qk", attributes={"softcap": 0.7}),
    "soft cap, causal": Form("q k v", attributes={"softcap": 0.7, "is_causal": 1}),
    "valid keys": Form("q k v . . . lengths"),
    "valid keys, causal": Form("q k v . . . lengths", attributes={"is_causal": 1}),
    "valid keys and a mask": Form("q k2 v2 bqk . . lengths"),
    "products": Form("q k v qk", 4),
    "capped products": Form("q k v qk", 4, {"qk_matmul_output_mode": 1, "softcap": 0.7}),
    "masked products": Form("q k v bqk", 4, {"qk_matmul_output_mode": 2}),
    "weights": Form("q k2 v2 qt past_k2 past_v2", 4, {"qk_matmul_output_mode": 3}),
    "precise softmax": Form("q k v", attributes={"softmax_precision": TensorProto.DOUBLE}),
}  # fmt: skip


# Of each kind one, which every run compiles for open sizes.
FEW = ("plain", "heads joined", "past, grouped, causal", "past and a mask", "soft cap and a mask",
       "valid keys and a mask", "weights")  # fmt: skip


def model(forms: dict[str, Form], sizes: dict[str, int] | None, opset: int = 24) -> onnx.ModelProto:
    """All forms side by side; without sizes all letters are open dimensions."""
    known = sizes or {}
    nodes, outputs = [], []
    for number, form in enumerate(forms.values()):
        names = [f"y{number}_{output}" for output in range(form.outputs)]
        inputs = ["" if name == "." else name for name in form.inputs.split()]
        nodes.append(
            helper.make_node("Attention", inputs, names, f"attention_{number}", **form.attributes)
        )
        outputs += [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names]
    used = {name for node in nodes for name in node.input}
    inputs = [
        helper.make_tensor_value_info(n, TYPES[kind], [known.get(d, d) for d in shape])
        for n, (kind, shape) in INPUTS.items()
        if n in used
    ]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=11)


def arrays(proto: onnx.ModelProto, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """Inputs; a row of each boolean mask excludes all keys."""
    generator = np.random.default_rng(0)
    result = {}
    for value in proto.graph.input:
        kind, letters = INPUTS[value.name]
        shape = [sizes.get(letter, letter) for letter in letters]
        if kind == "bool":
            array = generator.random(shape) < 0.6
            array[..., 0, :] = False
        elif kind == "int64":
            array = generator.integers(1, sizes["K"] + 1, shape)
        else:
            array = generator.normal(size=shape).astype(np.float32)
        result[value.name] = array
    return result


SIZES = {
    "as compiled": OPEN,
    "one query": {"B": 1, "Q": 1, "K": 1, "P": 19, "T": 20},
    "nothing past": {"B": 3, "Q": 33, "K": 33, "P": 0, "T": 33},
}


Results = dict[str, tuple[np.ndarray, np.ndarray]]


def results(compiled: Compiled, forms: dict[str, Form], sizes: dict[str, int]) -> Results:
    """What the code gives, and what ONNX Runtime gives, for each output."""
    proto = model(forms, None)
    inputs = arrays(proto, sizes)
    expected = Reference(proto).run(inputs)
    given = compiled(*inputs.values())
    return {name: (own, expected[name]) for name, own in zip(expected, given, strict=True)}


@pytest.fixture(scope="module")
def fixed(compile_for_cpu: Compile) -> Results:
    return results(compile_for_cpu(model(FORMS, OPEN)), FORMS, OPEN)


def of_open_sizes(compile_for_cpu: Compile, forms: dict[str, Form]) -> dict[str, Results]:
    compiled = compile_for_cpu(model(forms, None))
    return {name: results(compiled, forms, sizes) for name, sizes in SIZES.items()}


@pytest.fixture(scope="module")
def few_of_open_sizes(compile_for_cpu: Compile) -> dict[str, Results]:
    return of_open_sizes(compile_for_cpu, {name: FORMS[name] for name in FEW})


@pytest.fixture(scope="module")
def all_of_open_sizes(compile_for_cpu: Compile) -> dict[str, Results]:
    return of_open_sizes(compile_for_cpu, FORMS)


def agrees(found: Results, number: int) -> None:
    for name, (actual, right) in found.items():
        if name.startswith(f"y{number}_"):
            assert actual.shape == right.shape
            np.testing.assert_allclose(actual, right, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_fixed_sizes(fixed: Results, form: str) -> None:
    agrees(fixed, list(FORMS).index(form))


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("form", FEW)
def test_forms_of_open_sizes(few_of_open_sizes: dict[str, Results], form: str, sizes: str) -> None:
    agrees(few_of_open_sizes[sizes], FEW.index(form))


@pytest.mark.slow
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("form", FORMS)
def test_all_forms_of_open_sizes(
    all_of_open_sizes: dict[str, Results], form: str, sizes: str
) -> None:
    agrees(all_of_open_sizes[sizes], list(FORMS).index(form))


@pytest.mark.parametrize("kind", ["bool", "float"])
@pytest.mark.parametrize("open_mask", [False, True])
def test_keys_beyond_a_shorter_mask_take_no_part(
    run_on_cpu: Run, kind: str, open_mask: bool
) -> None:
    form = Form("q k v short . . lengths")
    proto = model({"": form}, {**OPEN, "K": KEYS})
    shape = ("M" if open_mask else BATCH, 1, QUERIES, "S" if open_mask else KEYS - 2)
    proto.graph.input.insert(3, helper.make_tensor_value_info("short", TYPES[kind], shape))
    inputs = arrays(model({"": Form("q k v . . . lengths")}, OPEN), OPEN)
    inputs["lengths"] = np.array([KEYS - 2, 3])
    mask = np.random.default_rng(3).normal(size=(BATCH, 1, QUERIES, KEYS - 2)).astype(np.float32)
    mask = mask > -1 if kind == "bool" else mask
    mask[..., 0] = True
    given = [*list(inputs.values())[:3], mask, inputs["lengths"]]
    names = [value.name for value in proto.graph.input]
    (expected,) = ReferenceEvaluator(proto).run(None, dict(zip(names, given, strict=True)))
    (actual,) = run_on_cpu(proto, *given)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_floats(run_on_cpu: Run, dtype: str) -> None:
    proto = model({"": Form("q k2 v2 bqk", attributes={"is_causal": 1})}, OPEN)
    inputs = arrays(proto, OPEN)
    for value in (*proto.graph.input, *proto.graph.output):
        if value.name != "bqk":
            value.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    expected = np.asarray(Reference(model({"": Form("q k2 v2 bqk", attributes={"is_causal": 1})},
                                          OPEN)).run(inputs)["y0_0"])  # fmt: skip
    given = [array if array.dtype == bool else array.astype(dtype) for array in inputs.values()]
    (actual,) = run_on_cpu(proto, *given)
    assert actual.dtype == dtype
    np.testing.assert_allclose(actual, expected, atol=4e-3 if dtype == "float16" else 1e-5)


def test_a_query_that_is_no_number_gives_none(run_on_cpu: Run) -> None:
    proto = model({"": Form("q k v bqk")}, OPEN)
    inputs = arrays(proto, OPEN)
    inputs["bqk"][0, 0, 1] = True
    inputs["q"][0, 0, 1, 0] = np.nan
    (actual,) = run_on_cpu(proto, *inputs.values())
    wrong = np.isnan(actual).any(-1)
    assert wrong[0, 0].tolist() == [False, True, False, False, False]
    assert wrong.sum() == 1


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        (Form("q k v", attributes={"scale": -1.0}), "scale is -1, not positive"),
        (Form("q3 k3 v3"), "needs q_num_heads"),
        (Form("q k v . past_k"), "past keys and past values, or neither"),
        (Form("q k v", 4, {"qk_matmul_output_mode": 7}), "no qk_matmul_output_mode 7"),
        (Form("q k v hqk2"), "a mask of 3 does not broadcast to 4"),
    ],
)
def test_forms_that_are_not_lowered_are_named(run_on_cpu: Run, form: Form, reason: str) -> None:
    proto = model({"": form}, OPEN)
    if "hqk2" in form.inputs:
        shape = (3, QUERIES, KEYS)
        proto.graph.input.append(helper.make_tensor_value_info("hqk2", TensorProto.FLOAT, shape))
    with pytest.raises(UnsupportedOperatorError, match=f"node 'attention_0'.*{reason}"):
        run_on_cpu(proto)


def test_a_mask_of_an_open_size_that_does_not_fit_is_refused(compile_for_cpu: Compile) -> None:
    model = parse("""g (float[1,2,3,4] q, float[1,2,T,4] k, float[Q,M] m) => (float[1,2,3,4] y) {
      y = Attention(q, k, k, m) }""")
    compiled = compile_for_cpu(model)
    generator = np.random.default_rng(0)
    query, key = (generator.normal(size=(1, 2, n, 4)).astype(np.float32) for n in (3, 5))
    for rows, keys in ((3, 5), (3, 6), (2, 5), (4, 5)):
        mask = generator.normal(size=(rows, keys)).astype(np.float32)
        assert_same(model, compiled, {"q": query, "k": key, "m": mask})
