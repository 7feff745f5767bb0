"""The probe's loops compute what they say, and hold nothing but what they are to measure."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
import tvm

from ingot.runtime.threads import use_threads
from ingot.targets.cpu.machine import CpuDescription, describe_cpu
from ingot.targets.cpu.probe_kernels import accumulators, probe_module

X86_PROCESSORS = ("haswell", "skylake-avx512", "znver4")


def processor(name: str) -> CpuDescription:
    """A processor by LLVM's name; ``cortex-a76`` stands for those with NEON."""
    if name != "cortex-a76":
        return describe_cpu(name, threads=2)
    wide = describe_cpu("generic", threads=2)
    return dataclasses.replace(
        wide, architecture="aarch64", mcpu=name, vector_bytes=16, vector_registers=32
    )


def fused_loops(cpu: CpuDescription) -> list[list[str]]:
    """The instructions of each loop of one basic block that has a fused multiply-add."""
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
        if words[-1] == label and any(re.match("vfmadd|fmla", each) for each in body):
            found.append(list(body))
    return found


@pytest.mark.parametrize("name", [*X86_PROCESSORS, "cortex-a76"])
def test_the_loop_of_the_peak_is_multiply_adds_in_registers_and_its_counter(name: str) -> None:
    cpu = processor(name)
    loops = fused_loops(cpu)
    assert loops
    for body in loops:
        multiply_adds = [i for i in body if re.match("vfmadd...ps|fmla", i)]
        assert len(multiply_adds) >= accumulators(cpu) >= 10
        assert len(body) - len(multiply_adds) <= 4, body


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
