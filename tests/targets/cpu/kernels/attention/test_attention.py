"""The attention kernel: any sizes, layouts and masks, known before or only when it runs."""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import tirx

from ingot.targets.cpu.kernels.attention.attention import attention
from ingot.targets.cpu.kernels.attention.few_rows import MOST_FEW_ROWS
from ingot.targets.cpu.kernels.attention.problem import (
    Attention,
    Mask,
    Operand,
    WithoutKeys,
)
from ingot.targets.cpu.kernels.writing.dimension import product
from ingot.targets.cpu.machine import CpuDescription, describe_cpu
from tests.examples import examples
from tests.targets.cpu.kernels.conftest import Kernel, compile_kernel

# Each example is a compilation.
PROPERTY = settings(max_examples=examples(6), deadline=None)
SCALE = 0.3
# Memory orders of [batch, heads, positions, features], and what each dimension counts.
LAYOUTS = {
    "by heads": ("b", "kg", "s", "d"),
    "heads apart": ("b", "s", "kg", "d"),
    "heads joined": ("b", "s", "kgd"),
    "sequence first": ("s", "b", "kgd"),
}
# What the dimensions of a mask count; 1 for a single element.
MASKS = ["", "t", "1t", "qt", "q1", "1qt", "b11t", "1hqt", "bhqt", "bh1t"]


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Batches, heads of keys, heads of queries to each, queries and keys, and what is causal."""

    b: Any = 2
    k: int = 2
    g: int = 1
    q: Any = 9
    t: Any = 11
    causal: Any = None

    @property
    def h(self) -> int:
        return self.k * self.g

    def symbolic(self) -> Sizes:
        """The same with variables; what is causal goes up to the last key, or from the first."""
        b, q, t = (tirx.Var(name, "int64") for name in ("batch", "queries", "keys"))
        causal = None if self.causal is None else 0 if self.causal == 0 else t - q
        return Sizes(b, self.k, self.g, q, t, causal)


def operand(axes: tuple[str, ...], sizes: Sizes, positions, features: int, group: int) -> Operand:
    counts = {"b": sizes.b, "k": sizes.k, "g": group, "s": positions, "d": features}
    named = tuple(axis.replace("g", "") if group == 1 else axis for axis in axes)
    return Operand(tuple(product(counts[letter] for letter in axis) for axis in named), named)


def problem(
    sizes: Sizes,
    features: int,
    value_features: int,
    layout: str,
    mask: str = "",
    *,
    replaces: bool = False,
    cap: float = 0.0,
    without_keys: WithoutKeys = WithoutKeys.ZERO,
) -> Attention:
    axes = LAYOUTS[layout]
    letters = "bhqt"[4 - len(mask) :]
    return Attention(
        batch=sizes.b,
        heads=sizes.k,
        group=sizes.g,
        queries=sizes.q,
        keys=sizes.t,
        features=features,
        value_features=value_features,
        scale=SCALE,
        query=operand(axes, sizes, sizes.q, features, sizes.g),
        key=operand(axes, sizes, sizes.t, features, 1),
        value=operand(axes, sizes, sizes.t, value_features, 1),
        result=operand(axes, sizes, sizes.q, value_features, sizes.g),
        cap=cap,
        mask=None
        if not mask
        else Mask(
            tuple(1 if letter == "1" else getattr(sizes, letter) for letter in mask),
            letters,
            tuple(letter == "1" for letter in mask),
            replaces,
        ),
        causal=sizes.causal,
        without_keys=without_keys,
    )


def laid_out(values: np.ndarray, layout: str) -> np.ndarray:
    """Brings [batch, heads, positions, features] into a memory order."""
    order = {"by heads": (0, 1, 2, 3), "sequence first": (2, 0, 1, 3)}.get(layout, (0, 2, 1, 3))
    values = np.ascontiguousarray(values.transpose(order))
    return values.reshape(*values.shape[:2], -1) if "kgd" in LAYOUTS[layout] else values


class Case:
    """Inputs of a kernel and the result in float64; rows without any key are zeros."""

    def __init__(self, sizes: Sizes, features: int, value_features: int, layout: str,
                 mask: str = "", *, replaces: bool = False, cap: float = 0.0) -> None:  # fmt: skip
        generator = np.random.default_rng(0)
        q, k, v = (
            generator.normal(size=(sizes.b, heads, positions, width)).astype(np.float32)
            for heads, positions, width in (
                (sizes.h, sizes.q, features),
                (sizes.k, sizes.t, features),
                (sizes.k, sizes.t, value_features),
            )
        )
        self.inputs = [laid_out(array, layout) for array in (q, k, v)]
        keys, self.values = (np.repeat(array, sizes.g, axis=1) for array in (k, v))
        scores = q.astype(np.float64) @ keys.swapaxes(-1, -2) * SCALE
        if cap:
            scores = cap * np.tanh(scores / cap)
        if mask:
            added = generator.normal(
                size=[1 if letter == "1" else getattr(sizes, letter) for letter in mask]
            )
            added = np.where(generator.random(added.shape) < 0.3, -np.inf, added * 3)
            if replaces:
                added = np.where(generator.random(added.shape) < 0.4, 0.0, added)
            self.inputs.append(added.astype(np.float32))
            scores = np.where(added == 0, scores, added) if replaces else scores + self.inputs[-1]
        if sizes.causal is not None:
            seen = np.arange(sizes.t) <= np.arange(sizes.q)[:, None] + sizes.causal
            scores = np.where(seen, scores, -np.inf)
        peak = scores.max(-1, keepdims=True)
        weights = np.exp(scores - np.where(np.isfinite(peak), peak, 0))
        total = weights.sum(-1, keepdims=True)
        weights = weights / np.where(total > 0, total, 1)
        self.result = laid_out(weights @ self.values, layout)

    def check(self, kernel: Kernel) -> None:
        actual = kernel(*self.inputs, shape=self.result.shape)
        # Scores reach 20, where float32 is spaced by 2e-6; weights have that as relative error.
        np.testing.assert_allclose(actual, self.result, atol=1e-5)


@PROPERTY
@given(
    sizes=st.builds(
        Sizes, st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 40),
        st.integers(1, 40), st.sampled_from([None, None, 0, 3, -2]),
    ),
    features=st.integers(1, 40),
    value_features=st.integers(1, 40),
    layout=st.sampled_from(sorted(LAYOUTS)),
    mask=st.sampled_from(MASKS),
    options=st.sampled_from([{}, {}, {"cap": 0.8}, {"replaces": True}]),
    symbolic=st.booleans(),
)  # fmt: skip
def test_any_sizes(sizes: Sizes, features: int, value_features: int, layout: str, mask: str,
                   options: dict[str, Any], symbolic: bool) -> None:  # fmt: skip
    if symbolic and sizes.causal:
        sizes = dataclasses.replace(sizes, causal=sizes.t - sizes.q)
    cpu = describe_cpu("native", threads=2)
    known = sizes.symbolic() if symbolic else sizes
    function = attention(problem(known, features, value_features, layout, mask, **options), cpu)
    Case(sizes, features, value_features, layout, mask, **options).check(
        compile_kernel(function, cpu)
    )


@functools.cache
def symbolic_kernel(mask: str, group: int = 1, causal: bool = False) -> Kernel:
    cpu = describe_cpu("native", threads=2)
    known = Sizes(k=2, g=group, causal=1 if causal else None).symbolic()
    return compile_kernel(attention(problem(known, 32, 32, "heads joined", mask), cpu), cpu)


@pytest.mark.parametrize("mask", ["b11t", "b1qt"])
@pytest.mark.parametrize(
    ("batch", "queries", "keys"),
    [(1, 1, 1), (2, 7, 7), (1, 1, 127), (1, 127, 127), (1, 512, 512), (3, 16, 1), (2, 3, 90)],
)
def test_one_kernel_takes_all_lengths(mask: str, batch: int, queries: int, keys: int) -> None:
    sizes = Sizes(b=batch, q=queries, t=keys)
    Case(sizes, 32, 32, "heads joined", mask).check(symbolic_kernel(mask))


@pytest.mark.parametrize("queries", [1, 2, 16, 17, 100])
@pytest.mark.parametrize("past", [0, 1, 63])
@pytest.mark.parametrize("group", [1, 4])
def test_causal_queries_with_a_past(queries: int, past: int, group: int) -> None:
    sizes = Sizes(b=1, g=group, q=queries, t=past + queries, causal=past)
    Case(sizes, 32, 32, "heads joined").check(symbolic_kernel("", group, causal=True))


@pytest.mark.parametrize(
    ("features", "value_features", "mask"),
    [(40, 24, "b1qt"), (64, 128, ""), (36, 20, "bh1t"), (7, 16, "b1qt"), (16, 300, "1hq1")],
)
def test_a_few_rows_of_any_features(features: int, value_features: int, mask: str) -> None:
    cpu = describe_cpu("native", threads=2)
    sizes = Sizes(g=MOST_FEW_ROWS // 2, q=2)
    known = dataclasses.replace(sizes, t=tirx.Var("keys", "int64"))
    made = problem(known, features, value_features, "by heads", mask)
    kernel = compile_kernel(attention(made, cpu), cpu)
    for keys in (1, 5, 64, 83):
        case = dataclasses.replace(sizes, t=keys)
        Case(case, features, value_features, "by heads", mask).check(kernel)


@pytest.mark.parametrize("mcpu", ["generic", "haswell", "skylake-avx512"])
@pytest.mark.parametrize("queries", [1, 19])
def test_builds(mcpu: str, queries: int) -> None:
    sizes = Sizes(q=queries, t=29, g=2, causal=10)
    cpu = describe_cpu(mcpu, threads=2)
    kernel = compile_kernel(attention(problem(sizes, 24, 20, "heads joined", "bhqt"), cpu), cpu)
    Case(sizes, 24, 20, "heads joined", "bhqt").check(kernel)


ROWS = pytest.mark.parametrize("queries", [4, 20])  # few, and a tile


@functools.cache
def masked_kernel(queries: int, without_keys: WithoutKeys) -> Kernel:
    cpu = describe_cpu("native", threads=1)
    sizes = Sizes(b=1, k=1, q=queries, t=3)
    made = problem(sizes, 8, 8, "by heads", "qt", without_keys=without_keys)
    return compile_kernel(attention(made, cpu), cpu)


def run_with_mask(
    queries: int, without_keys: WithoutKeys, mask: np.ndarray | float, **inputs: float
) -> tuple[np.ndarray, np.ndarray]:
    """The result [queries, features] and the mean of the values, with a mask [queries, keys]."""
    case = Case(Sizes(b=1, k=1, q=queries, t=3), 8, 8, "by heads", "qt")
    case.inputs[3] = np.broadcast_to(mask, (queries, 3)).astype(np.float32)
    for place, value in inputs.items():
        case.inputs["qkv".index(place)][0, 0, 2, 0] = value
    result = masked_kernel(queries, without_keys)(*case.inputs, shape=(1, 1, queries, 8))
    return result[0, 0], case.inputs[2].mean(axis=(0, 1, 2))


@ROWS
@pytest.mark.parametrize("without_keys", WithoutKeys)
def test_rows_without_any_key(queries: int, without_keys: WithoutKeys) -> None:
    mask = np.zeros((queries, 3))
    mask[2] = -np.inf
    actual, _ = run_with_mask(queries, without_keys, mask)
    not_a_number = without_keys is WithoutKeys.NOT_A_NUMBER
    assert np.isnan(actual[2]).all() if not_a_number else (actual[2] == 0).all()
    others = np.delete(actual, 2, axis=0)
    assert np.isfinite(others).all() and (np.abs(others) > 0).any(-1).all()


@ROWS
@pytest.mark.parametrize("without_keys", WithoutKeys)
def test_rows_whose_keys_are_all_masked_by_the_lowest_number(
    queries: int, without_keys: WithoutKeys
) -> None:
    actual, mean = run_with_mask(queries, without_keys, np.finfo(np.float32).min)
    expected = np.zeros(8) if without_keys is WithoutKeys.ZERO else mean
    np.testing.assert_allclose(actual, np.broadcast_to(expected, actual.shape), atol=1e-6)


@ROWS
@pytest.mark.parametrize("without_keys", WithoutKeys)
def test_a_query_that_is_no_number(queries: int, without_keys: WithoutKeys) -> None:
    actual, _ = run_with_mask(queries, without_keys, np.zeros(3), q=np.nan)
    zero = without_keys is WithoutKeys.ZERO_FOR_NOT_A_NUMBER
    assert (actual[2] == 0).all() if zero else np.isnan(actual[2]).all()
    assert np.isfinite(np.delete(actual, 2, axis=0)).all()


@ROWS
def test_a_large_mask_does_not_round_the_products(queries: int) -> None:
    plain, _ = run_with_mask(queries, WithoutKeys.NOT_A_NUMBER, np.zeros(3))
    actual, _ = run_with_mask(queries, WithoutKeys.NOT_A_NUMBER, np.full(3, -256.0))
    # The sums round to 256's spacing once, not with each product.
    np.testing.assert_allclose(actual, plain, atol=3e-5)


def test_threads_change_no_bit() -> None:
    case = Case(Sizes(q=100, t=75), 32, 32, "heads joined", "b11t")
    kernel = symbolic_kernel("b11t")
    results = [
        kernel(*case.inputs, shape=case.result.shape, threads=threads).tobytes()
        for threads in (1, 2, 3, 2)
    ]
    assert len(set(results)) == 1


@pytest.mark.parametrize(
    ("mcpu", "register", "rows"), [("haswell", "ymm", 6), ("znver4", "zmm", 14)]
)
def test_products_are_multiply_adds_in_registers(mcpu: str, register: str, rows: int) -> None:
    cpu: CpuDescription = describe_cpu(mcpu, threads=2)
    sizes = Sizes(b=1, k=2, q=256, t=12 * rows)
    assembly = compile_kernel(attention(problem(sizes, 64, 64, "heads joined"), cpu), cpu).assembly
    blocks = re.split(r"^\.L\w+:", assembly, flags=re.MULTILINE)
    loops = [block[: block.index("jne")] for block in blocks if "jne" in block]
    products = [loop for loop in loops if loop.count("vfmadd231ps") >= 2 * rows]
    assert any(loop.count("vfmadd231ps") % (2 * rows) == 0 for loop in products)
    for loop in products:
        # No accumulator is written back within the loop.
        assert not re.search(rf"mov[au]ps\s+%{register}\d+, [-\d]*\(%", loop)
    assert "expf" not in assembly
