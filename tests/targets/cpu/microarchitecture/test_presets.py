"""Known processors are described by data, which tells them apart and says where it is from."""

from __future__ import annotations

import dataclasses
import itertools
import re

import pytest

from ingot.runtime.cpu_features import machine_architecture
from ingot.targets.cpu.machine import known_processors
from ingot.targets.cpu.microarchitecture.presets import Preset, preset_of, presets

NAMES = {preset.title: preset for preset in presets()}


@pytest.mark.parametrize("preset", presets(), ids=lambda preset: preset.title)
def test_a_preset_is_plausible_and_says_its_sources(preset: Preset) -> None:
    core = preset.core
    assert all(value >= 0 for value in dataclasses.astuple(core))
    assert core.l1d_bytes < core.l2_bytes
    assert core.l2_bytes_per_cycle > core.l3_bytes_per_cycle >= core.dram_bytes_per_cycle > 0
    assert core.multiply_adds_per_cycle <= core.instructions_per_cycle
    assert 2 <= core.multiply_add_latency <= 5
    assert re.search(r"\b[OUFWCM]\b|above", preset.sources)


def test_a_name_has_one_preset() -> None:
    names = list(itertools.chain.from_iterable(preset.names for preset in presets()))
    assert len(names) == len(set(names))


@pytest.mark.skipif(machine_architecture() != "x86_64", reason="LLVM's names of x86-64")
def test_names_are_llvms() -> None:
    known = set(known_processors("x86_64")) | set(known_processors("aarch64"))
    assert {name for preset in presets() for name in preset.names} <= known


@pytest.mark.parametrize(
    ("mcpu", "architecture", "features", "title"),
    [
        ("znver4", "x86_64", ("avx2", "avx512f"), "zen4"),
        ("icelake_server", "x86_64", ("avx2", "avx512f"), "icelake-server"),
        ("novalake", "x86_64", ("avx2", "avx512f"), "x86-64-v4"),
        ("bdver4", "x86_64", ("avx", "avx2"), "x86-64-v3"),
        ("silvermont", "x86_64", ("sse4_2",), "x86-64-v2"),
        ("neoverse-n1", "aarch64", ("asimd",), "neoverse-n1"),
        ("ampere1", "aarch64", ("asimd",), "aarch64"),
    ],
)
def test_a_processor_has_its_own_preset_or_its_levels(
    mcpu: str, architecture: str, features: tuple[str, ...], title: str
) -> None:
    assert preset_of(mcpu, architecture, features).title == title


@pytest.mark.parametrize(
    ("title", "chains"),
    [("zen3", 8), ("zen4", 4), ("haswell", 10), ("cortex-a72", 3), ("neoverse-v1", 8)],
)
def test_chains_hide_the_latency_of_a_multiply_add(title: str, chains: int) -> None:
    assert NAMES[title].core.chains == chains


def test_a_thread_has_its_part_of_what_a_core_takes_in() -> None:
    assert NAMES["zen3"].core.instructions_of_a_thread == 3
    assert NAMES["neoverse-n1"].core.instructions_of_a_thread == 4


@pytest.mark.parametrize(
    ("title", "rate", "count"),
    [
        ("zen4", "l2", 2),
        ("zen4", "l3", 3),
        ("skylake-server", "l2", 2),
        ("skylake-server", "l3", 9),
    ],
)
def test_multiply_adds_in_the_time_in_which_a_vector_comes(
    title: str, rate: str, count: int
) -> None:
    core = NAMES[title].core
    assert core.multiply_adds_of(64, getattr(core, f"{rate}_bytes_per_cycle")) == count
