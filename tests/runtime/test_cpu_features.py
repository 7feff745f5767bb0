"""Features of the machine by the kernel's names."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingot.runtime import cpu_features

BIG_AND_LITTLE = """\
processor\t: 0
flags\t\t: sse2 avx2 fma
processor\t: 1
flags\t\t: sse2 avx2
"""


@pytest.fixture
def cpuinfo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(cpu_features, "_CPUINFO", path)
    cpu_features.machine_features.cache_clear()
    yield path
    cpu_features.machine_features.cache_clear()


def test_a_feature_that_one_core_lacks_does_not_count(cpuinfo: Path) -> None:
    cpuinfo.write_text(BIG_AND_LITTLE)
    assert cpu_features.machine_features() == {"sse2", "avx2"}
    assert cpu_features.missing_features(["fma", "avx2", "amx"]) == ["amx", "fma"]


def test_arm_names_its_features_differently(cpuinfo: Path) -> None:
    cpuinfo.write_text("Features\t: fp asimd asimddp\n")
    assert cpu_features.machine_features() == {"fp", "asimd", "asimddp"}


@pytest.mark.parametrize("granted", [True, False])
def test_tiles_count_where_the_kernel_lets_this_process_use_them(
    cpuinfo: Path, monkeypatch: pytest.MonkeyPatch, granted: bool
) -> None:
    cpuinfo.write_text("flags\t\t: avx2 amx_tile amx_int8 amx_bf16\n")
    monkeypatch.setattr(cpu_features, "_may_use_tiles", lambda: granted)
    tiles = {"amx_tile", "amx_int8", "amx_bf16"}
    assert cpu_features.machine_features() == {"avx2"} | (tiles if granted else set())
