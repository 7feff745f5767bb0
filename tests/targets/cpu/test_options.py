"""A target's string says all that code depends on: anywhere, it describes the same processor."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingot.errors import UsageError
from ingot.runtime.cpu_features import machine_architecture
from ingot.targets.cpu.options import ProcessorOptions, processor_spec
from ingot.targets.registry import parse_target

pytestmark = pytest.mark.skipif(
    machine_architecture() != "x86_64", reason="the names below are of x86-64 processors"
)
rates = st.floats(0.01, 1e6)
OPTIONS = st.fixed_dictionaries(
    {"mcpu": st.sampled_from(["native", "generic", "znver3", "haswell", "sapphirerapids", "k8"])},
    optional={
        "threads": st.integers(1, 64),
        "cores": st.integers(1, 64),
        "without": st.sampled_from(["avx2", "avx512fp16+amx-int8"]),
        "l1d": st.integers(4096, 1 << 20),
        "l2": st.sampled_from(["300K", "3M", "12345"]),
        "l3": st.integers(0, 1 << 24),
        "multiply_adds_per_cycle": rates,
        "loads_per_cycle": rates,
        "threads_per_core": st.integers(1, 8),
        "launch_cycles": rates,
    },
)


@given(OPTIONS)
@settings(max_examples=40, deadline=None)
def test_a_target_is_what_its_own_string_says(options: dict[str, Any]) -> None:
    target = parse_target({"kind": "cpu", **options})
    again = parse_target(target.spec)
    assert again.spec == target.spec
    assert again.cpu == target.cpu  # type: ignore[attr-defined]


def test_a_named_processor_owes_nothing_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    before = processor_spec(ProcessorOptions(mcpu="haswell").describe())
    monkeypatch.setattr("ingot.targets.cpu.machine.cache_shares", lambda: {1: 1, 2: 2, 3: 3})
    monkeypatch.setattr("ingot.targets.cpu.machine.usable_cpus", lambda: 96)
    monkeypatch.setattr("ingot.targets.cpu.machine.machine_features", frozenset)
    after = processor_spec(ProcessorOptions(mcpu="haswell").describe())
    assert before == after == "mcpu=haswell,l1d=32K,l2=256K,l3=2M,cores=8"


def test_this_machine_tells_its_caches_cores_and_what_it_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tvm.target.codegen.llvm_get_system_cpu", lambda: "haswell")
    monkeypatch.setattr("ingot.targets.cpu.machine.cache_shares", lambda: {2: 1 << 20, 3: 5 << 20})
    monkeypatch.setattr("ingot.targets.cpu.machine.usable_cpus", lambda: 12)
    everything = set(ProcessorOptions(mcpu="haswell").describe().features)
    monkeypatch.setattr("ingot.targets.cpu.machine.machine_features", lambda: everything - {"fma"})
    spec = processor_spec(ProcessorOptions().describe())
    assert spec == "mcpu=haswell,l1d=32K,l2=1M,l3=5M,cores=12,without=fma"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("cpu:l2=lots", "option 'l2': .*'lots' is no size: write 32K, 1M, or a number of bytes"),
        ("cpu:l2=1K", "option 'l2': Input should be greater than or equal to 4096"),
        ("cpu:loads_per_cycle=0", "option 'loads_per_cycle': Input should be greater than 0"),
        ("cpu:cores=0", "option 'cores'"),
        ("cpu:without=warp", "no feature of x86_64 is called 'warp'"),
    ],
)
def test_what_describes_nothing_is_refused(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        _ = parse_target(spec).spec
