"""The attention kernel: any sizes, layouts and masks, known before or only when it runs."""

from __future__ import annotations

import functools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import tirx

from ingot.targets.cpu.machine import CpuDescription, describe_cpu
from ingot.targets.cpu.schedules.attention import attention
from ingot.targets.cpu.schedules.attention_problem import Attention, Mask, Operand
from tests.targets.cpu.schedules.conftest import Kernel, compile_kernel

# Each example is a compilation.
PROPERTY = settings(max_examples=12, deadline=None)
SCALE = 0.3
# Memory orders of [batch, heads, positions, features], and what each dimension counts.
LAYOUTS = {
    "by heads": ("b", "h", "s", "d"),
    "heads apart": ("b", "s", "h", "d"),
    "heads joined": ("b", "s", "hd"),
    "sequence first": ("s", "b", "hd"),
}
MASKS = ["", "k", "1k", "qk", "q1", "1qk", "b11k", "1hqk", "bhqk"]


def extents(symbolic: bool, batch: int, heads: int, queries: int, keys: int):
    if not symbolic:
        return {"b": batch, "h": heads, "q": queries, "k": keys}
    b, q, k = (tirx.Var(name, "int64") for name in ("batch", "queries", "keys"))
    return {"b": b, "h": heads, "q": q, "k": k}


def operand(axes: tuple[str, ...], sizes, positions, features: int) -> Operand:
    counts = {"b": sizes["b"], "h": sizes["h"], "s": positions, "d": features}
    joined = {"hd": sizes["h"] * features}
    return Operand(tuple(joined.get(axis) or counts[axis] for axis in axes), axes)


def problem(sizes, features: int, value_features: int, layout: str, mask: str) -> Attention:
    axes = LAYOUTS[layout]
    return Attention(
        batch=sizes["b"],
        heads=sizes["h"],
        queries=sizes["q"],
        keys=sizes["k"],
        features=features,
        value_features=value_features,
        scale=SCALE,
        query=operand(axes, sizes, sizes["q"], features),
        key=operand(axes, sizes, sizes["k"], features),
        value=operand(axes, sizes, sizes["k"], value_features),
        result=operand(axes, sizes, sizes["q"], value_features),
        mask=None
        if not mask
        else Mask(
            tuple(1 if letter == "1" else sizes[letter] for letter in mask),
            tuple(letter == "1" for letter in mask),
        ),
    )


def laid_out(values: np.ndarray, layout: str) -> np.ndarray:
    """Brings [batch, heads, positions, features] into a memory order."""
    order = {"by heads": (0, 1, 2, 3), "sequence first": (2, 0, 1, 3)}.get(layout, (0, 2, 1, 3))
    values = np.ascontiguousarray(values.transpose(order))
    return values.reshape(*values.shape[:2], -1) if "hd" in LAYOUTS[layout] else values


class Case:
    """Inputs of a kernel and the result in float64."""

    def __init__(self, sizes: dict[str, int], features: int, value_features: int,
                 layout: str, mask: str) -> None:  # fmt: skip
        generator = np.random.default_rng(0)
        shape = (sizes["b"], sizes["h"])
        q, k, v = (
            generator.normal(size=(*shape, positions, width)).astype(np.float32)
            for positions, width in (
                (sizes["q"], features), (sizes["k"], features), (sizes["k"], value_features),
            )
        )  # fmt: skip
        scores = q.astype(np.float64) @ k.swapaxes(-1, -2) * SCALE
        self.inputs = [laid_out(array, layout) for array in (q, k, v)]
        if mask:
            added = generator.normal(size=[1 if x == "1" else sizes[x] for x in mask])
            added = np.where(generator.random(added.shape) < 0.3, -np.inf, added * 3)
            self.inputs.append(added.astype(np.float32))
            scores = scores + self.inputs[-1]
        peak = scores.max(-1, keepdims=True)
        weights = np.exp(scores - np.where(np.isfinite(peak), peak, 0))
        total = weights.sum(-1, keepdims=True)
        self.result = laid_out(weights / np.where(total > 0, total, 1) @ v, layout)

    def check(self, kernel: Kernel) -> None:
        actual = kernel(*self.inputs, shape=self.result.shape)
        # Scores reach 20, where float32 is spaced by 2e-6; weights have that as relative error.
        np.testing.assert_allclose(actual, self.result, atol=1e-5)


@PROPERTY
@given(
    batch=st.integers(1, 3),
    heads=st.integers(1, 3),
    queries=st.integers(1, 40),
    keys=st.integers(1, 40),
    features=st.integers(1, 40),
    value_features=st.integers(1, 40),
    layout=st.sampled_from(sorted(LAYOUTS)),
    mask=st.sampled_from(MASKS),
    symbolic=st.booleans(),
)
def test_any_sizes(batch: int, heads: int, queries: int, keys: int, features: int,
                   value_features: int, layout: str, mask: str,
                   symbolic: bool) -> None:  # fmt: skip
    sizes = {"b": batch, "h": heads, "q": queries, "k": keys}
    known = extents(symbolic, batch, heads, queries, keys)
    function = attention(
        problem(known, features, value_features, layout, mask), describe_cpu("native", threads=2)
    )
    case = Case(sizes, features, value_features, layout, mask)
    case.check(compile_kernel(function, describe_cpu("native", threads=2)))


@functools.cache
def symbolic_kernel(mask: str) -> Kernel:
    cpu = describe_cpu("native", threads=2)
    known = extents(True, 0, 2, 0, 0)
    return compile_kernel(attention(problem(known, 32, 32, "heads joined", mask), cpu), cpu)


@pytest.mark.parametrize("mask", ["b11k", "b1qk"])
@pytest.mark.parametrize(
    ("batch", "queries", "keys"),
    [(1, 1, 1), (2, 7, 7), (1, 1, 127), (1, 127, 127), (1, 512, 512), (3, 16, 1)],
)
def test_one_kernel_takes_all_lengths(mask: str, batch: int, queries: int, keys: int) -> None:
    sizes = {"b": batch, "h": 2, "q": queries, "k": keys}
    Case(sizes, 32, 32, "heads joined", mask).check(symbolic_kernel(mask))


@pytest.mark.parametrize("mcpu", ["generic", "haswell", "skylake-avx512"])
def test_builds(mcpu: str) -> None:
    sizes = {"b": 2, "h": 2, "q": 19, "k": 29}
    cpu = describe_cpu(mcpu, threads=2)
    kernel = compile_kernel(attention(problem(sizes, 24, 20, "heads joined", "bhqk"), cpu), cpu)
    Case(sizes, 24, 20, "heads joined", "bhqk").check(kernel)


def test_rows_without_any_key_are_zero() -> None:
    sizes = {"b": 1, "h": 1, "q": 5, "k": 3}
    case = Case(sizes, 8, 8, "by heads", "qk")
    case.inputs[3][:] = 0
    case.inputs[3][2] = -np.inf
    cpu = describe_cpu("native", threads=1)
    kernel = compile_kernel(attention(problem(sizes, 8, 8, "by heads", "qk"), cpu), cpu)
    actual = kernel(*case.inputs, shape=(1, 1, 5, 8))
    assert (actual[0, 0, 2] == 0).all()
    assert np.isfinite(actual).all()
    assert (np.abs(actual[0, 0, [0, 1, 3, 4]]) > 0).any(-1).all()


def test_a_row_whose_keys_are_all_masked_by_the_lowest_number_is_a_mean() -> None:
    sizes = {"b": 1, "h": 1, "q": 4, "k": 3}
    case = Case(sizes, 8, 8, "by heads", "qk")
    case.inputs[3][:] = np.finfo(np.float32).min
    cpu = describe_cpu("native", threads=1)
    kernel = compile_kernel(attention(problem(sizes, 8, 8, "by heads", "qk"), cpu), cpu)
    actual = kernel(*case.inputs, shape=(1, 1, 4, 8))
    mean = case.inputs[2].mean(axis=2, keepdims=True)
    np.testing.assert_allclose(actual, np.broadcast_to(mean, actual.shape), atol=1e-6)


def test_threads_change_no_bit() -> None:
    case = Case({"b": 2, "h": 2, "q": 100, "k": 75}, 32, 32, "heads joined", "b11k")
    kernel = symbolic_kernel("b11k")
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
    sizes = {"b": 1, "h": 2, "q": 256, "k": 12 * rows}
    assembly = compile_kernel(
        attention(problem(sizes, 64, 64, "heads joined", ""), cpu), cpu
    ).assembly
    blocks = re.split(r"^\.L\w+:", assembly, flags=re.MULTILINE)
    loops = [block[: block.index("jne")] for block in blocks if "jne" in block]
    products = [loop for loop in loops if loop.count("vfmadd231ps") >= 2 * rows]
    assert any(loop.count("vfmadd231ps") % (2 * rows) == 0 for loop in products)
    for loop in products:
        # No accumulator is written back within the loop.
        assert not re.search(rf"mov[au]ps\s+%{register}\d+, [-\d]*\(%", loop)
    assert "expf" not in assembly
