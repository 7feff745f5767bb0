"""Processors are described as schedules need them and as the kernel names their features."""

from __future__ import annotations

import pytest

from ingot.runtime.cpu_features import machine_architecture, machine_features
from ingot.targets.cpu.machine import describe_cpu, known_processors

pytestmark = pytest.mark.skipif(
    machine_architecture() != "x86_64", reason="the tables below are of x86-64 processors"
)


@pytest.mark.parametrize(
    ("mcpu", "vector_bytes", "registers", "has", "lacks"),
    [
        ("x86-64", 16, 16, (), ("avx",)),
        ("haswell", 32, 16, ("avx2", "fma"), ("avx512f",)),
        ("skylake-avx512", 64, 32, ("avx512f", "avx512bw"), ("avx512_vnni",)),
        ("cascadelake", 64, 32, ("avx512_vnni",), ("avx512_bf16",)),
        ("znver4", 64, 32, ("avx512_vnni", "avx512_bf16"), ("amx_int8",)),
        ("sapphirerapids", 64, 32, ("amx_int8", "avx512_fp16"), ()),
        ("generic", 16, 16, ("sse4_2", "popcnt"), ("avx",)),
    ],
)
def test_known_processors(
    mcpu: str, vector_bytes: int, registers: int, has: tuple[str, ...], lacks: tuple[str, ...]
) -> None:
    cpu = describe_cpu(mcpu, threads=4)
    assert (cpu.vector_bytes, cpu.vector_registers) == (vector_bytes, registers)
    assert cpu.thread_counts == (4,)
    assert cpu.float_lanes == vector_bytes // 4
    assert set(has) <= set(cpu.features)
    assert not set(lacks) & set(cpu.features)


def test_this_machine_has_what_its_own_description_says() -> None:
    cpu = describe_cpu("native", None)
    assert set(cpu.features) <= machine_features()
    assert 0 < cpu.core.l1d_bytes < cpu.core.l2_bytes
    assert cpu.mcpu in known_processors(cpu.architecture)


def test_a_feature_that_a_virtual_machine_hides_is_switched_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tvm.target.codegen.llvm_get_system_cpu", lambda: "znver4")
    monkeypatch.setattr(
        "ingot.targets.cpu.machine.machine_features", lambda: {"avx", "avx2", "fma", "popcnt"}
    )
    cpu = describe_cpu("native", None)
    assert "avx512f" in cpu.disabled
    assert cpu.vector_bytes == 32
    assert "-avx512f" in str(cpu.tvm_target())


def test_a_processor_with_tiles_is_known_by_them_where_its_model_number_is_an_older_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    everything = set(describe_cpu("sapphirerapids", threads=2).features)
    monkeypatch.setattr("tvm.target.codegen.llvm_get_system_cpu", lambda: "rocketlake")
    monkeypatch.setattr("ingot.targets.cpu.machine.machine_features", lambda: everything)
    cpu = describe_cpu("native", None)
    assert cpu.mcpu == "sapphirerapids"
    assert "amx_int8" in cpu.features
    monkeypatch.setattr(
        "ingot.targets.cpu.machine.machine_features",
        lambda: {name for name in everything if "amx" not in name},
    )
    assert describe_cpu("native", None).mcpu == "rocketlake"
