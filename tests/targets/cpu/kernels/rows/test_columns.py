"""Reductions of images and sequences per channel: what ONNX Runtime computes, for any shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.examples import examples
from tests.targets.cpu.conftest import Compile
from tests.targets.cpu.epilogues import EPILOGUES, apply_epilogue
from tests.targets.cpu.networks import Network, assert_agrees

OPERATORS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin")
COLUMNS = st.sampled_from([1, 2, 3, 7, 8, 13, 16, 24, 33, 72])


def reduction(
    operator: str, shape: tuple[int | str, ...], axes: list[int], keepdims: bool = True
) -> tuple[Network, str]:
    network = Network()
    x = network.input(*shape)
    y = network.apply(
        operator, x, network.constant(np.array(axes, np.int64)), keepdims=int(keepdims)
    )
    return network, y


@settings(max_examples=examples(30), deadline=None)
@given(
    operator=st.sampled_from(OPERATORS),
    leading=st.lists(st.sampled_from([1, 2, 3, "N"]), max_size=2, unique=True),
    rows=st.lists(st.integers(1, 11), min_size=1, max_size=2),
    columns=COLUMNS,
    keepdims=st.booleans(),
)
def test_agrees_with_onnx_runtime(
    compile_for_cpu: Compile,
    operator: str,
    leading: list[int | str],
    rows: list[int],
    columns: int,
    keepdims: bool,
) -> None:
    axes = list(range(len(leading), len(leading) + len(rows)))
    network, y = reduction(operator, (*leading, *rows, columns), axes, keepdims)
    network.output(y)
    compiled = compile_for_cpu(network.model())
    assert list(compiled.kernels.values()) == ["reduction"]
    for batch in (1, 4) if "N" in leading else (1,):
        assert_agrees(compiled, network, N=batch)


@pytest.mark.parametrize("operator", ["ReduceSum", "ReduceMax"])
@pytest.mark.parametrize("length", [1, 5, 128])
def test_a_sequence_of_any_length(compile_for_cpu: Compile, operator: str, length: int) -> None:
    network, y = reduction(operator, ("N", "L", 21), [1])
    network.output(y)
    compiled = compile_for_cpu(network.model())
    assert list(compiled.kernels.values()) == ["reduction"]
    assert_agrees(compiled, network, N=2, L=length)


@pytest.mark.parametrize("operator", ["GlobalAveragePool", "GlobalMaxPool"])
@pytest.mark.parametrize("epilogue", EPILOGUES)
def test_global_pooling_and_what_follows_are_one_kernel(
    compile_for_cpu: Compile, operator: str, epilogue: str
) -> None:
    network = Network()
    x = network.input(2, 20, 5, 7)
    ones = network.constant(np.ones((20, 1, 1, 1), np.float32))
    y = network.apply(operator, network.apply("Conv", x, ones, group=20))
    network.output(apply_epilogue(network, epilogue, y, (2, 20, 1, 1), axis=1))
    compiled = compile_for_cpu(network.model())
    families = sorted(compiled.kernels.values())
    assert families.count("reduction") == 1
    assert set(families) <= {"reduction", "depthwise", "loops"}
    assert_agrees(compiled, network)


def test_a_mean_of_many_rows_stays_exact_to_rounding(compile_for_cpu: Compile) -> None:
    network, y = reduction("ReduceMean", (1, 112, 112, 32), [1, 2])
    network.output(y)
    compiled = compile_for_cpu(network.model())
    (x,) = network.random_inputs().values()
    (mean,) = compiled(x + np.float32(1))
    expected = (x + np.float32(1)).mean(axis=(1, 2), keepdims=True, dtype=np.float64)
    # Eight sums of 1568 elements each: a few hundred roundings, of which most cancel.
    np.testing.assert_allclose(mean, expected, rtol=2e-6)


@pytest.mark.parametrize("columns", [32, 129])
def test_threads_do_not_change_a_bit(compile_for_cpu: Compile, columns: int) -> None:
    network, y = reduction("ReduceMean", (1, 112, 112, columns), [1, 2])
    network.output(y)
    compiled = compile_for_cpu(network.model())
    inputs = network.random_inputs().values()
    (expected,) = compiled(*inputs, threads=1)
    (actual,) = compiled(*inputs, threads=2)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("mcpu", ["x86-64", "haswell", "znver4", "generic"])
def test_every_processor_gets_code(compile_for_cpu: Compile, mcpu: str) -> None:
    network, y = reduction("ReduceMean", (1, 9, 9, 44), [1, 2])
    network.output(y)
    compiled = compile_for_cpu(network.model(), mcpu)
    assert list(compiled.kernels.values()) == ["reduction"]
