"""The kernel of Fourier transforms: any length, any number of rows, on each kind of processor."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import tirx

from ingot.targets.cpu.kernels.fourier.fourier import Problem, fourier
from ingot.targets.cpu.kernels.fourier.stages import operations, radices, stages
from ingot.targets.cpu.machine import CpuDescription, describe_cpu
from ingot.targets.relax.fourier import Fourier
from tests.examples import examples
from tests.targets.cpu.kernels.conftest import Kernel, compile_kernel
from tests.targets.cpu.processors import PROCESSORS

# Of the largest value.
ROUNDING = 5e-7
NATIVE = describe_cpu("native", threads=2)


def complex_rows(rows: int, length: int) -> np.ndarray:
    generator = np.random.default_rng(length)
    return generator.normal(size=(rows, length, 2)).astype(np.float32)


def kernel_of(problem: Problem, cpu: CpuDescription = NATIVE) -> Kernel:
    return compile_kernel(fourier(problem, cpu), cpu)


def run(problem: Problem, data: np.ndarray, kernel: Kernel, threads: int = 2) -> np.ndarray:
    shape = (len(data), *map(int, problem.result[1:]))
    parts = kernel(data, problem.table(), shape=shape, threads=threads).astype(np.float64)
    return parts[..., 0] + (1j * parts[..., 1] if parts.shape[-1] == 2 else 0)


def forward(rows: int | tirx.Var, length: int, parts: int = 2) -> Problem:
    bins = length // 2 + 1 if parts == 1 else length
    transform = Fourier(length, bins, complex_input=parts == 2)
    return Problem(transform, (rows, length, parts), (rows, bins, 2))


def assert_close(actual: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(actual, expected, atol=ROUNDING * np.abs(expected).max())


@settings(max_examples=examples(12), deadline=None)
@given(
    length=st.integers(1, 300),
    rows=st.integers(1, 40),
    parts=st.sampled_from([1, 2]),
)
def test_any_sizes(length: int, rows: int, parts: int) -> None:
    data = complex_rows(rows, length)
    signal = data[..., 0] + (1j * data[..., 1] if parts == 2 else 0)
    problem = forward(rows, length, parts)
    data = np.ascontiguousarray(data[..., :parts])
    expected = np.fft.fft(signal, axis=1)[:, : problem.transform.bins]
    assert_close(run(problem, data, kernel_of(problem)), expected)


@pytest.mark.parametrize("processor", ["sse", "avx2", "avx512"])
def test_processors(processor: str) -> None:
    cpu = PROCESSORS[processor]
    problem = forward(21, 60, 1)
    data = np.ascontiguousarray(complex_rows(21, 60)[..., :1])
    expected = np.fft.rfft(data[..., 0].astype(np.float64), axis=1)
    assert_close(run(problem, data, kernel_of(problem, cpu)), expected)


def test_one_kernel_takes_any_number_of_rows_on_any_number_of_threads() -> None:
    problem = forward(tirx.Var("rows", "int64"), 128)
    kernel = kernel_of(problem)
    for rows in (1, 16, 17, 100):
        data = complex_rows(rows, 128)
        results = [run(problem, data, kernel, threads) for threads in (1, 2, 3)]
        assert_close(results[0], np.fft.fft(data[..., 0] + 1j * data[..., 1], axis=1))
        for other in results[1:]:
            np.testing.assert_array_equal(other, results[0])


@pytest.mark.parametrize(
    ("length", "expected"),
    [(1, []), (2, [2]), (256, [4] * 4), (200, [4, 2, 5, 5]), (21, [3, 7]), (1009, [1009])],
)
def test_radices_are_fours_and_primes(length: int, expected: list[int]) -> None:
    assert radices(length) == expected
    assert math.prod(expected) == length


def test_stages_take_transforms_apart() -> None:
    assert [(s.radix, s.length, s.stride, s.rest) for s in stages(24)] == [
        (4, 24, 1, 6),
        (2, 6, 4, 3),
        (3, 3, 8, 1),
    ]


def test_operations_grow_as_the_logarithm() -> None:
    assert operations(4096) / 4096 == 1.5 * operations(256) / 256
