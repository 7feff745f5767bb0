"""The probe's loops compute what they say, and hold nothing but what they are to measure."""

from __future__ import annotations

import collections
import dataclasses
import re

import numpy as np
import pytest
import tvm

from ingot.targets.cpu.kernels.words.amx import has_tiles
from ingot.targets.cpu.kernels.words.dot import DotProduct
from ingot.targets.cpu.machine import CpuDescription, describe_cpu
from ingot.targets.cpu.probe_kernels import (
    accumulators,
    integer_accumulators,
    integer_operations,
    integer_weights,
    probe_module,
)
from ingot.targets.relax.tvm_threads import use_threads

X86_PROCESSORS = ("haswell", "skylake-avx512", "znver4")


def processor(name: str) -> CpuDescription:
    """A processor by LLVM's name; ``cortex-a76`` stands for those with NEON."""
    if name != "cortex-a76":
        return describe_cpu(name, threads=2)
    wide = describe_cpu("generic", threads=2)
    return dataclasses.replace(
        wide, architecture="aarch64", mcpu=name, vector_bytes=16, vector_registers=32
    )


def loops_with(pattern: str, cpu: CpuDescription) -> list[list[str]]:
    """The instructions of each loop of one basic block that has one of a pattern."""
    assembly = tvm.compile(probe_module(cpu), cpu.tvm_target()).mod.inspect_source("s")
    found: list[list[str]] = []
    label, body = "", []
    for line in assembly.splitlines():
        words = re.sub(r"#.*|//.*", "", line).split()
        if not words or (words[0].startswith(".") and not words[0].startswith(".LBB")):
            continue
        if words[0].endswith(":"):
            label, body = words[0].rstrip(":"), []
            continue
        body.append(words[0])
        if words[-1] == label and any(re.match(pattern, each) for each in body):
            found.append(list(body))
    return found


@pytest.mark.parametrize("name", [*X86_PROCESSORS, "cortex-a76"])
def test_the_loop_of_the_peak_is_multiply_adds_in_registers_and_its_counter(name: str) -> None:
    cpu = processor(name)
    loops = loops_with("vfmadd|fmla", cpu)
    assert loops
    for body in loops:
        multiply_adds = [i for i in body if re.match("vfmadd...ps|fmla", i)]
        assert len(multiply_adds) >= accumulators(cpu) >= 10
        assert len(body) - len(multiply_adds) <= 4, body


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("haswell", ["vpmaddubsw", "vpmaddubsw", "vpaddw", "vpmaddwd", "vpaddd"]),
        ("skylake-avx512", ["vpmaddubsw", "vpmaddubsw", "vpaddw", "vpmaddwd", "vpaddd"]),
        ("znver4", ["vpdpbusd"]),
        ("sapphirerapids", ["tdpbusd"]),
    ],
)
def test_the_loop_of_the_integer_peak_is_steps_in_registers_and_its_counter(
    name: str, step: list[str]
) -> None:
    cpu = processor(name)
    loops = loops_with(step[0], cpu)
    assert loops
    for body in loops:
        counts = collections.Counter(body)
        counter = sum(counts.values()) - sum(counts[each] for each in set(step))
        assert counter <= 2, body
        steps = counts[step[-1]]
        assert steps >= integer_accumulators(cpu) >= (4 if has_tiles(cpu) else 10)
        assert {each: counts[each] for each in step} == {
            each: steps * count for each, count in collections.Counter(step).items()
        }


@pytest.mark.parametrize("name", [*X86_PROCESSORS, "x86-64", "cortex-a76"])
def test_integer_operations_are_those_of_the_vectors_that_a_round_multiplies(name: str) -> None:
    cpu = processor(name)
    vectors = integer_accumulators(cpu) * len(integer_weights(cpu))
    assert integer_operations(cpu) == 2 * cpu.vector_bytes * vectors


def test_a_tile_takes_16_rows_16_columns_and_64_bytes_of_the_reduction() -> None:
    assert integer_operations(processor("sapphirerapids")) == 4 * 2 * 16 * 16 * 64


@pytest.mark.parametrize("name", [*X86_PROCESSORS, "x86-64", "cortex-a76"])
def test_every_processor_has_a_loop_of_integers(name: str) -> None:
    cpu = processor(name)
    assert tvm.compile(probe_module(cpu), cpu.tvm_target()).mod.inspect_source("s")


@pytest.fixture(scope="module")
def code() -> tvm.runtime.Executable:
    cpu = describe_cpu("native", None)
    return tvm.compile(probe_module(cpu), cpu.tvm_target())


@pytest.mark.parametrize("threads", [1, 2])
def test_each_thread_multiplies_and_adds_as_often_as_asked(
    code: tvm.runtime.Executable, threads: int
) -> None:
    cpu = describe_cpu("native", None)
    factors = np.stack([np.full(cpu.float_lanes, 0.5), np.full(cpu.float_lanes, 3)]).astype("f4")
    sums = np.random.default_rng(0).normal(size=(threads, accumulators(cpu) * cpu.float_lanes))
    given = tvm.runtime.tensor(sums.astype(np.float32))
    use_threads(threads)
    code["multiply_add"](tvm.runtime.tensor(factors), given, 3)
    np.testing.assert_allclose(given.numpy(), sums + 3 * 0.5 * 3, rtol=1e-6)


@pytest.mark.parametrize("threads", [1, 2])
def test_each_thread_adds_up_its_part_as_often_as_asked(
    code: tvm.runtime.Executable, threads: int
) -> None:
    cpu = describe_cpu("native", None)
    data = np.random.default_rng(0).normal(size=(threads, 5, accumulators(cpu) * cpu.float_lanes))
    sums = tvm.runtime.empty((threads, data.shape[2]), "float32")
    use_threads(threads)
    code["read_sum"](tvm.runtime.tensor(data.astype(np.float32)), sums, 2)
    np.testing.assert_allclose(sums.numpy(), 2 * data.sum(axis=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_the_probes_weights_leave_integer_sums_as_they_are(
    code: tvm.runtime.Executable, threads: int
) -> None:
    sums = integer_sums(threads)
    given = run_integers(code, sums, integer_weights(describe_cpu("native", None)), rounds=5)
    np.testing.assert_array_equal(given, sums)


def test_integers_are_multiplied_and_added_as_often_as_asked(code: tvm.runtime.Executable) -> None:
    cpu = describe_cpu("native", None)
    sums, weights = integer_sums(2), np.zeros_like(integer_weights(cpu))
    weights[:, ::4] = 3
    expected = sums.copy()
    for _ in range(4):
        multiplies_sums = DotProduct.of(cpu).kind in ("pmaddubsw", "plain")
        first = expected & 0xFF if multiplies_sums else np.full_like(expected, ROW)
        # Each group of a tile is the same.
        expected += 3 * len(weights) * first * (16 if has_tiles(cpu) else 1)
    np.testing.assert_array_equal(run_integers(code, sums, weights, rounds=4), expected)


ROW = 7


def integer_sums(threads: int) -> np.ndarray:
    cpu = describe_cpu("native", None)
    shape = (threads, integer_accumulators(cpu) * cpu.float_lanes)
    return np.random.default_rng(0).integers(0, 2**30, shape, np.int32)


def run_integers(
    code: tvm.runtime.Executable, sums: np.ndarray, weights: np.ndarray, rounds: int
) -> np.ndarray:
    rows = np.full(weights.shape[1], ROW, np.int8)
    given = tvm.runtime.tensor(sums)
    use_threads(len(sums))
    code["integer_multiply_add"](
        tvm.runtime.tensor(rows), tvm.runtime.tensor(weights), given, rounds
    )
    return given.numpy()
