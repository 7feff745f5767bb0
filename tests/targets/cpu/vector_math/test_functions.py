"""The vectorized functions: their error, their special values, the code that they become."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

import numpy as np
import pytest
import tvm
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import special
from tvm import s_tir, te, tirx

from ingot.runtime.cpu_features import machine_architecture
from ingot.targets.cpu import vector_math
from ingot.targets.cpu.machine import describe_cpu

Function = Callable[[tirx.Expr], tirx.Expr]
SIZE = 1 << 18
FUNCTIONS: dict[str, Function] = {
    name: getattr(vector_math, name)
    for name in ("exp", "exp2", "log", "sigmoid", "tanh", "erf", "rsqrt")
}
REFERENCES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exp": np.exp,
    "exp2": np.exp2,
    "log": np.log,
    "sigmoid": special.expit,
    "tanh": np.tanh,
    "erf": special.erf,
    "rsqrt": lambda x: 1 / np.sqrt(x),
}
# As the docstrings state them: with fused multiply-adds, without them.
ULP = {
    "exp": (1.5, 1.9),
    "exp2": (1.3, 1.7),
    "log": (1.3, 1.3),
    "sigmoid": (3.4, 3.4),
    "tanh": (4.1, 4.7),
    "erf": (3.5, 3.7),
    "rsqrt": (1.5, 1.5),
}
BUILDS = ["native", "generic"]
TARGETS = {
    "AVX2": ("x86_64", "haswell", r"%ymm"),
    "AVX-512": ("x86_64", "znver4", r"%zmm"),
    "NEON": ("aarch64", "cortex-a76", r"v\d+\.4s"),
}
LANES = {"AVX2": 8, "AVX-512": 16, "NEON": 4}


def build(function: Function, target: tvm.target.Target, size: int, lanes: int) -> tvm.ir.Module:
    """Compiles a loop over an array, as vectors where ``lanes`` is more than one."""
    x = te.placeholder((size,), name="x")
    y = te.compute((size,), lambda i: function(x[i].asobject()), name="y")
    schedule = s_tir.Schedule(te.create_prim_func([x, y]))
    (loop,) = schedule.get_loops(schedule.get_sblock("y"))
    if lanes > 1:
        _, inner = schedule.split(loop, [None, lanes])
        schedule.vectorize(inner)
    return tvm.compile(schedule.mod, target=target)


@functools.cache
def compiled(name: str, mcpu: str, size: int, lanes: int) -> tvm.runtime.Module:
    return build(FUNCTIONS[name], describe_cpu(mcpu, 1).tvm_target(), size, lanes)


def evaluate(name: str, x: np.ndarray, mcpu: str = "native", lanes: int = 8) -> np.ndarray:
    y = tvm.runtime.tensor(np.empty_like(x))
    compiled(name, mcpu, x.size, lanes)["main"](tvm.runtime.tensor(x), y)
    return y.numpy()


def assembly(function: Function, kind: str, lanes: int) -> str:
    architecture, mcpu, _ = TARGETS[kind]
    target = {"kind": "llvm", "mtriple": f"{architecture}-linux-gnu", "mcpu": mcpu}
    return build(function, tvm.target.Target(target), 1024, lanes).mod.inspect_source("asm")


def libm_calls(code: str) -> list[str]:
    """Calls and jumps to a mathematical function, by the names that libm gives them."""
    names = r"(?:exp2?|log|tanh|erf|sqrt)f?\b"
    return re.findall(rf"\b(?:callq?|jmp|bl?)\s+\*?{names}[^\n]*", code)


def sweep(seed: int) -> np.ndarray:
    """Bit patterns spread over all of float32, and numbers where the functions do something."""
    generator = np.random.default_rng(seed)
    step = 2**32 // SIZE
    patterns = np.arange(SIZE, dtype=np.uint64) * step + generator.integers(0, step, SIZE)
    usual = generator.uniform(-12, 12, SIZE)
    small = np.exp(generator.uniform(np.log(1e-4), np.log(4), SIZE))
    small *= generator.choice([-1, 1], SIZE)
    parts = [patterns.astype(np.uint32).view(np.float32), usual, small]
    return np.concatenate([part.astype(np.float32) for part in parts])


@pytest.mark.parametrize("mcpu", BUILDS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_error_is_within_the_stated_one(name: str, mcpu: str) -> None:
    x = sweep(seed=0)
    with np.errstate(all="ignore"):
        exact = REFERENCES[name](x.astype(np.float64))
        rounded = exact.astype(np.float32)
        normal = np.isfinite(rounded) & (np.abs(exact) >= 2.0**-126)
        ulp = np.abs(evaluate(name, x, mcpu) - exact) / np.spacing(np.abs(rounded))
    fused = mcpu == "native" or machine_architecture() == "aarch64"
    assert normal.sum() > SIZE / 2
    assert ulp[normal].max() <= ULP[name][0 if fused else 1]


@pytest.mark.parametrize("mcpu", BUILDS)
def test_erf_and_gelu_are_close_in_absolute_terms(mcpu: str) -> None:
    x = np.linspace(-10, 10, SIZE, dtype=np.float32)
    wide = x.astype(np.float64)
    got = evaluate("erf", x, mcpu)
    assert np.abs(got - special.erf(wide)).max() <= 2e-7
    scaled = (x * np.float32(np.sqrt(0.5))).astype(np.float32)
    gelu = np.float32(0.5) * x * (np.float32(1) + evaluate("erf", scaled, mcpu))
    exact = 0.5 * wide * (1 + special.erf(wide * np.sqrt(0.5)))
    assert np.abs(gelu - exact).max() <= 1e-6 * np.abs(exact).max()


INF, NAN = np.inf, np.nan
SPECIAL = [
    ("exp", 0.0, 1.0), ("exp", -0.0, 1.0), ("exp", INF, INF), ("exp", -INF, 0.0),
    ("exp", 88.722839, INF), ("exp", 1e30, INF), ("exp", -87.34, 0.0), ("exp", -1e30, 0.0),
    ("exp2", 0.0, 1.0), ("exp2", 127.0, 2.0**127), ("exp2", 128.0, INF), ("exp2", -3.0, 0.125),
    ("exp2", -126.0, 2.0**-126), ("exp2", -127.0, 0.0), ("exp2", INF, INF), ("exp2", -INF, 0.0),
    ("log", 1.0, 0.0), ("log", 0.0, -INF), ("log", -0.0, -INF), ("log", INF, INF),
    ("log", -1.0, NAN), ("log", -INF, NAN), ("log", -1e-40, NAN),
    ("sigmoid", 0.0, 0.5), ("sigmoid", INF, 1.0), ("sigmoid", -INF, 0.0), ("sigmoid", -1e30, 0.0),
    ("tanh", 0.0, 0.0), ("tanh", -0.0, -0.0), ("tanh", INF, 1.0), ("tanh", -INF, -1.0),
    ("tanh", 8.75, 1.0), ("tanh", -3e38, -1.0), ("tanh", 1e-40, 1e-40),
    ("erf", 0.0, 0.0), ("erf", -0.0, -0.0), ("erf", INF, 1.0), ("erf", -INF, -1.0),
    ("erf", 3.92, 1.0), ("erf", -3e38, -1.0),
    ("rsqrt", INF, 0.0), ("rsqrt", 0.0, INF), ("rsqrt", 4.0, 0.5), ("rsqrt", -1.0, NAN),
    *((name, NAN, NAN) for name in FUNCTIONS),
]  # fmt: skip


@pytest.mark.parametrize("mcpu", BUILDS)
@pytest.mark.parametrize(("name", "x", "y"), SPECIAL)
def test_a_special_value_is_exact(name: str, x: float, y: float, mcpu: str) -> None:
    got = evaluate(name, np.full(8, x, np.float32), mcpu)
    want = np.full(8, y, np.float32)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(np.signbit(got) & (want == 0), np.signbit(want) & (want == 0))


FLOATS = arrays(np.float32, 64, elements=st.floats(width=32))


@given(x=FLOATS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_nan_comes_out_where_the_exact_function_has_it(name: str, x: np.ndarray) -> None:
    with np.errstate(all="ignore"):
        exact = REFERENCES[name](x.astype(np.float64))
    np.testing.assert_array_equal(np.isnan(evaluate(name, x)), np.isnan(exact))


@given(x=arrays(np.float32, 64, elements=st.floats(width=32, allow_nan=False)))
@pytest.mark.parametrize(("name", "lowest"), [("tanh", -1), ("erf", -1), ("sigmoid", 0)])
def test_a_bounded_function_stays_within_its_bounds(name: str, lowest: int, x: np.ndarray) -> None:
    y = evaluate(name, x)
    assert (y >= lowest).all()
    assert (y <= 1).all()


@given(x=FLOATS)
@pytest.mark.parametrize("name", ["tanh", "erf"])
def test_an_odd_function_is_odd_to_the_bit(name: str, x: np.ndarray) -> None:
    np.testing.assert_array_equal(evaluate(name, -x), -evaluate(name, x))


@pytest.mark.parametrize("mcpu", BUILDS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_number_alone_gets_the_bits_that_it_gets_in_a_vector(name: str, mcpu: str) -> None:
    ends = np.array([0, INF, -INF, NAN] * 6, np.float32)
    x = np.concatenate([sweep(seed=1)[:: 3 * SIZE // 1000][:1000], ends])
    alone = [evaluate(name, x[i : i + 1], mcpu, lanes=1)[0] for i in range(x.size)]
    together = evaluate(name, x, mcpu, lanes=8)
    number = ~np.isnan(together)
    np.testing.assert_array_equal(np.isnan(alone), np.isnan(together))
    assert np.array(alone)[number].tobytes() == together[number].tobytes()


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_code_is_vector_code_without_calls(name: str, kind: str) -> None:
    code = assembly(FUNCTIONS[name], kind, LANES[kind])
    assert libm_calls(code) == []
    assert re.search(TARGETS[kind][2], code)


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("function", [tirx.exp, tirx.exp2, tirx.tanh, tirx.erf, tirx.log])
def test_what_is_replaced_does_call_libm(function: Function, kind: str) -> None:
    assert libm_calls(assembly(function, kind, lanes=1))
