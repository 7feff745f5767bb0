"""What a vector loop may hold, and that its mathematics reaches LLVM as it was meant."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
import tvm
from scipy import special
from tvm import tirx

from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load, prim_func
from ingot.targets.cpu.machine import describe_cpu
from ingot.targets.cpu.tir_pipeline import TIR_PIPELINE

LANES = 16
Function = Callable[[tirx.Expr, tirx.Expr], tirx.Expr]


def compiled(function: Function, *, bound: bool) -> tvm.runtime.Module:
    """A vector loop of ``y = f(x) - x``, the function's value bound to a variable or not."""
    x, y = (tirx.decl_buffer([index(LANES)], "float32", name) for name in "xy")
    emitter = Emitter()
    with emitter.vectorized(LANES) as lane:
        operand = emitter.bind("operand", load(x, lane) * tirx.const(2.0, "float32"))
        value = function(operand, lane)
        if bound:
            value = emitter.bind("value", value)
        emitter.store(y, value - load(x, lane), [lane])
    module = tvm.IRModule({"main": prim_func([x, y], emitter.body(), name="main")})
    target = describe_cpu("native", 1).tvm_target()
    return tvm.tirx.build(module, target=target, pipeline=TIR_PIPELINE)


def run(module: tvm.runtime.Module, x: np.ndarray) -> np.ndarray:
    y = tvm.runtime.tensor(np.zeros_like(x))
    module["main"](tvm.runtime.tensor(x), y)
    return y.numpy()


def constant(value: float) -> tirx.Expr:
    return tirx.const(value, "float32")


VECTOR_FUNCTIONS: dict[str, tuple[Function, Callable[[np.ndarray], np.ndarray]]] = {
    "exp": (lambda x, _: tirx.exp(x), np.exp),
    "tanh of sigmoid": (
        lambda x, _: tirx.tanh(tirx.sigmoid(x)),
        lambda x: np.tanh(special.expit(x)),
    ),
    "erf": (lambda x, _: tirx.erf(x), special.erf),
    "rsqrt": (lambda x, _: tirx.rsqrt(x * x), lambda x: 1 / np.abs(x)),
    "isnan": (
        lambda x, _: tirx.Select(tirx.isnan(x), constant(0.0), x * x),
        lambda x: np.where(np.isnan(x), 0, x * x),
    ),
}  # fmt: skip
SCALAR_FUNCTIONS: dict[str, tuple[Function, Callable[[np.ndarray], np.ndarray]]] = {
    "atan": (lambda x, _: tirx.atan(x), np.arctan),
    "another value in each lane": (
        lambda x, lane: tirx.if_then_else(lane < 5, x, tirx.exp(x)),
        lambda x: np.where(np.arange(LANES) < 5, x, np.exp(x)),
    ),
}


@pytest.mark.parametrize("bound", [False, True])
@pytest.mark.parametrize("name", [*VECTOR_FUNCTIONS, *SCALAR_FUNCTIONS])
def test_functions_in_vector_loops(name: str, bound: bool) -> None:
    function, reference = {**VECTOR_FUNCTIONS, **SCALAR_FUNCTIONS}[name]
    x = np.linspace(-3, 3, LANES, dtype=np.float32)
    result = run(compiled(function, bound=bound), x)
    np.testing.assert_allclose(result, reference(2 * x) - x, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", VECTOR_FUNCTIONS)
def test_vector_functions_call_no_library(name: str) -> None:
    module = compiled(VECTOR_FUNCTIONS[name][0], bound=True)
    assembly = module.inspect_source("s")
    called = set(re.findall(r"\b(?:callq|call|jmp|bl)\s+(\w+)", assembly))
    assert called and not called & {f"{name}f" for name in ("exp", "tanh", "erf", "sqrt", "pow")}


def test_one_function_that_says_nothing_of_aliases_does_not_speak_for_all() -> None:
    # A sum in memory that may be the input's has to be stored at every step.
    x, y = (tirx.decl_buffer([index(64)], "float32", name) for name in "xy")
    emitter = Emitter()
    emitter.store(y, constant(0.0), [0])
    with emitter.loop(64, "k") as k:
        emitter.store(y, load(y, 0) + load(x, k), [0])
    kernel = prim_func([x, y], emitter.body(), name="a_kernel")
    other = kernel.with_attr("global_symbol", "the_last").without_attr("tirx.noalias")
    target = describe_cpu("native", 1).tvm_target()
    module = tvm.tirx.build(
        tvm.IRModule({"a_kernel": kernel, "the_last": other}), target=target, pipeline=TIR_PIPELINE
    )
    declarations = re.findall(r"^define .*@\w+_compute_\(.*", module.inspect_source("ll"), re.M)
    assert [line.count("ptr noalias") for line in declarations] == [2, 2]


def test_a_choice_that_recurs_within_a_vector() -> None:
    # LLVM 22 alone takes the second eight lanes to read on where the first eight ended.
    x, cos, sin, y = (
        tirx.decl_buffer([index(size)], "float32", name)
        for size, name in ((192, "x"), (24, "cos"), (24, "sin"), (192, "y"))
    )
    emitter = Emitter()

    def rotated(u: tirx.Expr, v: tirx.Expr, at: tirx.Expr) -> tirx.Expr:
        def other(distance: int) -> tirx.Expr:
            row = (at + distance) // 32 + v
            return load(x, (row // 3 + u) % 2 * 96 + row % 3 * 32 + (at + distance) % 32)

        own, table = load(x, u * 96 + v * 32 + at), u * 12 + v * 4 + at % 8
        return tirx.if_then_else(
            index(4) <= at % 8,
            other(-4) * load(sin, table - 4) + own * load(cos, table - 4),
            own * load(cos, table) - other(4) * load(sin, table),
        )

    with emitter.loop(2, "u") as u, emitter.loop(3, "v") as v:
        for start in (0, 16):
            with emitter.vectorized(LANES) as lane:
                emitter.store(y, rotated(u, v, lane + start), [u * 96 + v * 32 + lane + start])
    module = tvm.IRModule({"main": prim_func([x, cos, sin, y], emitter.body(), name="main")})
    target = describe_cpu("native", 1).tvm_target()
    built = tvm.tirx.build(module, target=target, pipeline=TIR_PIPELINE)
    generator = np.random.default_rng(0)
    arrays = [generator.normal(size=size).astype(np.float32) for size in (192, 24, 24)]
    result = tvm.runtime.tensor(np.zeros(192, np.float32))
    built["main"](*map(tvm.runtime.tensor, arrays), result)
    halves, c, s = arrays[0].reshape(6, 4, 2, 4), *(a.reshape(6, 1, 4) for a in arrays[1:])
    first, second = halves[:, :, 0], halves[:, :, 1]
    expected = np.stack([first * c - second * s, first * s + second * c], axis=2)
    np.testing.assert_allclose(result.numpy(), expected.reshape(-1), atol=1e-6)
