"""Calls of mathematical functions in prim funcs are replaced, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import tvm
import tvm_ffi
from scipy import special
from tvm import ir, s_tir, te, tirx
from tvm.ir.expr import TensorLoad
from tvm.script import tirx as T

from ingot.targets.cpu.machine import describe_cpu
from ingot.targets.cpu.vector_math import replace_math_calls
from ingot.targets.cpu.vector_math.functions import POWERS

REPLACED = ["exp", "exp2", "log", "sigmoid", "tanh", "erf", "rsqrt"]
NUMPY = {
    "exp": np.exp, "exp2": np.exp2, "log": np.log, "sigmoid": special.expit, "tanh": np.tanh,
    "erf": special.erf, "rsqrt": lambda x: 1 / np.sqrt(x),
}  # fmt: skip
POSITIVE = np.random.default_rng(0).uniform(0.1, 5, 64).astype(np.float32)


def elementwise(
    function: Callable[[tirx.Expr], tirx.Expr], dtype: str = "float32", size: int = 64
) -> tirx.PrimFunc:
    x = te.placeholder((size,), name="x", dtype=dtype)
    y = te.compute((size,), lambda i: function(x[i].asobject()), name="y")
    return te.create_prim_func([x, y])


def calls(function: tirx.PrimFunc) -> list[str]:
    """Names of the operators that a function calls."""
    found: list[str] = []
    tvm_ffi.structural_walk(
        function.body, (ir.Call, lambda call: found.append(str(call.op.name))), order="post"
    )
    return found


def run(function: tirx.PrimFunc, *inputs: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    module = tvm.compile(
        tvm.IRModule({"main": function.with_attr("global_symbol", "main")}),
        target=describe_cpu("native", 1).tvm_target(),
    )
    output = tvm.runtime.tensor(np.zeros(shape, np.float32))
    module["main"](*map(tvm.runtime.tensor, inputs), output)
    return output.numpy()


@pytest.mark.parametrize("name", REPLACED)
def test_a_scalar_call_is_replaced(name: str) -> None:
    before = elementwise(getattr(tirx, name))
    after = replace_math_calls(before)
    assert f"tirx.{name}" in calls(before)
    assert f"tirx.{name}" not in calls(after)
    np.testing.assert_allclose(run(after, POSITIVE, shape=(64,)), NUMPY[name](POSITIVE), rtol=1e-6)


@T.prim_func(private=True)
def exp_of_vectors(x: T.Buffer((64,), "float32"), y: T.Buffer((64,), "float32")) -> None:
    T.func_attr({"tirx.noalias": True})
    for i in range(8):
        y[T.ramp(i * 8, 1, 8)] = T.exp(x[T.ramp(i * 8, 1, 8)] * T.Broadcast(T.float32(2), 8))


def test_a_call_on_a_vector_is_replaced() -> None:
    after = replace_math_calls(exp_of_vectors)
    assert "tirx.exp" in calls(exp_of_vectors)
    assert "tirx.exp" not in calls(after)
    np.testing.assert_allclose(run(after, POSITIVE, shape=(64,)), np.exp(2 * POSITIVE), rtol=1e-6)


def test_calls_within_calls_are_replaced() -> None:
    after = replace_math_calls(elementwise(lambda x: tirx.erf(tirx.exp(tirx.tanh(x)) * x)))
    assert not {"tirx.exp", "tirx.tanh", "tirx.erf"} & set(calls(after))
    expected = special.erf(np.exp(np.tanh(POSITIVE)) * POSITIVE)
    np.testing.assert_allclose(run(after, POSITIVE, shape=(64,)), expected, rtol=1e-6)


@pytest.mark.parametrize("name", REPLACED)
def test_an_argument_is_computed_once(name: str) -> None:
    after = replace_math_calls(elementwise(lambda x: getattr(tirx, name)(x + x * x)))
    loads: list[TensorLoad] = []
    tvm_ffi.structural_walk(after.body, (TensorLoad, loads.append), order="post")
    assert len(loads) == 3


def test_calls_within_calls_are_replaced_through_logarithms_too() -> None:
    """Mish: a call within the argument of another, within that of a third."""
    one = tirx.const(1.0, "float32")
    after = replace_math_calls(elementwise(lambda x: x * tirx.tanh(tirx.log(one + tirx.exp(x)))))
    expected = POSITIVE * np.tanh(np.log1p(np.exp(POSITIVE.astype(np.float64))))
    np.testing.assert_allclose(run(after, POSITIVE, shape=(64,)), expected, rtol=1e-6)


@pytest.mark.parametrize("exponent", sorted(POWERS))
def test_a_power_of_a_cheap_exponent_is_replaced(exponent: float) -> None:
    after = replace_math_calls(elementwise(lambda x: tirx.pow(x, tirx.const(exponent, "float32"))))
    assert "tirx.pow" not in calls(after)
    np.testing.assert_allclose(
        run(after, POSITIVE, shape=(64,)), POSITIVE.astype(np.float64) ** exponent, rtol=3e-7
    )


@pytest.mark.parametrize(
    ("function", "dtype"),
    [
        (tirx.exp, "float64"),
        (tirx.tanh, "float16"),
        (tirx.sin, "float32"),
        (lambda x: tirx.pow(x, tirx.const(1.7, "float32")), "float32"),
        (lambda x: tirx.pow(x, x), "float32"),
        (lambda x: x + x, "float32"),
    ],
)
def test_what_has_no_replacement_stays(
    function: Callable[[tirx.Expr], tirx.Expr], dtype: str
) -> None:
    before = elementwise(function, dtype)
    assert replace_math_calls(before).same_as(before)


def test_the_function_given_and_its_attributes_stay() -> None:
    before = elementwise(tirx.exp).with_attr("ingot.kind", "elementwise")
    after = replace_math_calls(before)
    assert "tirx.exp" in calls(before)
    assert after.attrs["ingot.kind"] == "elementwise"
    tvm.ir.assert_structural_equal(after.params, before.params, map_free_vars=True)


def test_unrolled_parallel_and_vector_loops_keep_the_values_apart() -> None:
    schedule = s_tir.Schedule(elementwise(lambda x: tirx.exp(x) * tirx.sigmoid(x), size=256))
    (loop,) = schedule.get_loops(schedule.get_sblock("y"))
    outer, middle, inner = schedule.split(loop, [None, 4, 8])
    schedule.parallel(outer)
    schedule.unroll(middle)
    schedule.vectorize(inner)
    x = np.linspace(-5, 5, 256, dtype=np.float32)
    got = run(replace_math_calls(schedule.mod["main"]), x, shape=(256,))
    np.testing.assert_allclose(got, np.exp(x) * special.expit(x), rtol=1e-6)


@T.prim_func(private=True)
def softmax(x: T.Buffer((4, 50), "float32"), y: T.Buffer((4, 50), "float32")) -> None:
    T.func_attr({"tirx.noalias": True})
    total = T.alloc_buffer((4,))
    for i in range(4):
        total[i] = T.float32(0)
        for j in range(50):
            total[i] = total[i] + T.if_then_else(j < 49, T.exp(x[i, j]), T.float32(0))
        for j in T.vectorized(50):
            y[i, j] = T.exp(x[i, j]) / total[i]


def test_reductions_and_conditions_are_replaced_in() -> None:
    x = np.random.default_rng(0).normal(size=(4, 50)).astype(np.float32)
    x[:, 49] = -np.inf
    after = replace_math_calls(softmax)
    assert "tirx.exp" not in calls(after)
    np.testing.assert_allclose(
        run(after, x, shape=(4, 50)), special.softmax(x.astype(np.float64), axis=1), rtol=1e-6
    )
