"""Descriptions of processors of each kind of vector unit, with the same caches on any machine."""

from __future__ import annotations

import dataclasses

from ingot.targets.cpu.machine import CpuDescription, describe_cpu


def _with_caches(cpu: CpuDescription) -> CpuDescription:
    core = dataclasses.replace(cpu.core, l1d_bytes=32 * 1024, l2_bytes=512 * 1024)
    return dataclasses.replace(cpu, core=core)


SSE = _with_caches(describe_cpu("x86-64", threads=None))
AVX2 = _with_caches(describe_cpu("znver3", threads=None))
AVX512 = _with_caches(describe_cpu("znver4", threads=None))
NEON = dataclasses.replace(SSE, architecture="aarch64", mcpu="generic", vector_registers=32)
PROCESSORS = {"sse": SSE, "avx2": AVX2, "avx512": AVX512, "neon": NEON}
