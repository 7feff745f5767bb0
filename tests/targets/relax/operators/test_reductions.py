"""Reductions along axes that are attributes, constants or inputs, of nothing and of every dtype."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ingot.reference.session import Reference
from tests.targets.cpu.conftest import Compile, Run

NAMES = (
    "ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
    "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare",
)  # fmt: skip
# Those whose result is a float's.
OF_INTEGERS = ("ReduceL1", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare")


def _model(
    shape: Sequence[int | str],
    axes: Sequence[int] | None,
    *,
    rank: int,
    constant: bool,
    names: Sequence[str] = NAMES,
    dtype: int = TensorProto.FLOAT,
    **options: int,
) -> onnx.ModelProto:
    """A model with an output for each reduction; the axes are a constant or an input."""
    operands = ["x"] if axes is None else ["x", "axes"]
    inputs = [helper.make_tensor_value_info("x", dtype, shape)]
    weights = []
    if axes is not None and constant:
        weights.append(numpy_helper.from_array(np.array(axes, np.int64), "axes"))
    elif axes is not None:
        inputs.append(helper.make_tensor_value_info("axes", TensorProto.INT64, [len(axes)]))
    nodes = [helper.make_node(name, operands, [name], name, **options) for name in names]
    outputs = [
        helper.make_tensor_value_info(name, dtype, [f"{name}{axis}" for axis in range(rank)])
        for name in names
    ]
    graph = helper.make_graph(nodes, "reductions", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _check(run: Run, model: onnx.ModelProto, *arrays: np.ndarray) -> None:
    inputs = dict(zip([value.name for value in model.graph.input], arrays, strict=True))
    expected = Reference(model).run(inputs)
    for actual, (name, wanted) in zip(run(model, *arrays), expected.items(), strict=True):
        assert (actual.dtype, actual.shape) == (wanted.dtype, wanted.shape), name
        np.testing.assert_allclose(actual, wanted, rtol=2e-5, atol=1e-5, err_msg=name)


def _numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0.5, 2, shape).astype(np.float32)


@pytest.mark.parametrize("constant", [True, False], ids=["constant", "computed"])
@pytest.mark.parametrize(("axes", "keep"), [([1], 1), ([-1, 0], 0)])
def test_axes(run_on_cpu: Run, axes: list[int], keep: int, constant: bool) -> None:
    rank = 3 if keep else 3 - len(axes)
    model = _model([3, 2, 2], axes, rank=rank, constant=constant, keepdims=keep)
    given = [] if constant else [np.array(axes)]
    _check(run_on_cpu, model, _numbers(3, 2, 2), *given)


def test_computed_axes_of_open_sizes(compile_for_cpu: Compile) -> None:
    names = ("ReduceMax", "ReduceLogSumExp")
    model = _model(["N", 3, "M"], [0], rank=2, constant=False, names=names, keepdims=0)
    compiled = compile_for_cpu(model)
    for axis in (0, 1, -1):
        _check(lambda _, *given: compiled(*given), model, _numbers(4, 3, 5), np.array([axis]))


@pytest.mark.parametrize("constant", [True, False], ids=["constant", "computed"])
@pytest.mark.parametrize("axes", [[], None])
def test_no_axes_are_all_of_them(run_on_cpu: Run, axes: list[int] | None, constant: bool) -> None:
    model = _model([2, 3], axes, rank=0, constant=constant, keepdims=0)
    given = [] if constant or axes is None else [np.array(axes, np.int64)]
    _check(run_on_cpu, model, _numbers(2, 3), *given)


def test_no_axes_may_be_none_of_them(run_on_cpu: Run) -> None:
    model = _model([2, 3], None, rank=2, constant=True, noop_with_empty_axes=1)
    data = _numbers(2, 3) - 1
    with np.errstate(invalid="ignore"):
        expected = {
            "ReduceL1": np.abs(data),
            "ReduceL2": np.abs(data),
            "ReduceLogSum": np.log(data),
            "ReduceSumSquare": data**2,
        }
    for name, actual in zip(NAMES, run_on_cpu(model, data), strict=True):
        np.testing.assert_allclose(actual, expected.get(name, data), rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("constant", [True, False], ids=["constant", "computed"])
def test_nothing_reduces_to_what_is_neutral(run_on_cpu: Run, constant: bool) -> None:
    model = _model([2, 0, 4], [1], rank=3, constant=constant, keepdims=1)
    given = [] if constant else [np.array([1])]
    results = run_on_cpu(model, np.zeros((2, 0, 4), np.float32), *given)
    neutral = [0, 0, -np.inf, -np.inf, -np.inf, np.nan, np.inf, 1, 0, 0]
    for name, actual, value in zip(NAMES, results, neutral, strict=True):
        np.testing.assert_array_equal(actual, np.full((2, 1, 4), value), err_msg=name)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_integers(run_on_cpu: Run, dtype: str) -> None:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    model = _model([2, 3, 4], [1], rank=3, constant=True, names=OF_INTEGERS, dtype=kind)
    data = np.random.default_rng(0).integers(-9, 9, (2, 3, 4)).astype(dtype)
    _check(run_on_cpu, model, data)


def test_truths(run_on_cpu: Run) -> None:
    names = ("ReduceMax", "ReduceMin")
    graph = _model([4, 2], [1], rank=2, constant=False, names=names, dtype=TensorProto.BOOL).graph
    opset = [helper.make_opsetid("", 20)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    data = np.array([[1, 1], [1, 0], [0, 1], [0, 0]], bool)
    _check(run_on_cpu, model, data, np.array([1]))


def test_the_sum_of_exponentials_does_not_overflow(run_on_cpu: Run) -> None:
    model = _model([2, 3], [1], rank=2, constant=True, names=("ReduceLogSumExp",))
    data = np.array([[1000, 999, -1000], [-np.inf, -np.inf, -np.inf]], np.float32)
    (actual,) = run_on_cpu(model, data)
    np.testing.assert_allclose(actual, [[1000 + np.log1p(np.exp(-1))], [-np.inf]], rtol=1e-6)


def test_halves_are_accumulated_in_more(run_on_cpu: Run) -> None:
    names = ("ReduceSum", "ReduceMean")
    model = _model([4096], [0], rank=1, constant=True, names=names, dtype=TensorProto.FLOAT16)
    total, mean = run_on_cpu(model, np.full(4096, 1.5, np.float16))
    assert total == 6144
    assert mean == 1.5
