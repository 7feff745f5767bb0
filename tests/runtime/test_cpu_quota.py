"""The default number of threads: affinity and quota, whichever is less."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ingot.runtime.cpu_quota import cpu_quota, usable_cpus
from tests.runtime.test_cgroups import V1, V2, machine

OWN = "sys/fs/cgroup/pod/container"
OUTER = "sys/fs/cgroup/pod"


def version_2(root: Path, own: str, outer: str) -> Path:
    machine(root, "0::/pod/container\n", V2, OWN)
    (root / OWN / "cpu.max").write_text(own)
    (root / OUTER / "cpu.max").write_text(outer)
    return root


def version_1(root: Path, quota: int, period: int) -> Path:
    folder = "sys/fs/cgroup/cpu,cpuacct/container"
    machine(root, "3:cpu,cpuacct:/container\n0::/\n", V1 + V2, folder)
    (root / folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (root / folder / "cpu.cfs_period_us").write_text(f"{period}\n")
    return root


@pytest.fixture
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


@pytest.mark.parametrize(
    ("own", "outer", "quota", "threads"),
    [
        ("max 100000\n", "max 100000\n", None, 8),
        ("150000 100000\n", "max 100000\n", 1.5, 2),
        ("max 100000\n", "200000 100000\n", 2.0, 2),
        ("400000 100000\n", "50000 100000\n", 0.5, 1),
        ("20000 10000\n", "300000 100000\n", 2.0, 2),
        ("1600000 100000\n", "max 100000\n", 16.0, 8),
    ],
)
@pytest.mark.usefixtures("eight_cpus")
def test_the_least_quota_of_nested_groups_counts(
    tmp_path: Path, own: str, outer: str, quota: float | None, threads: int
) -> None:
    root = version_2(tmp_path, own, outer)
    assert cpu_quota(root) == quota
    assert usable_cpus(root) == threads


@pytest.mark.parametrize(
    ("quota", "period", "expected", "threads"),
    [(-1, 100_000, None, 8), (250_000, 100_000, 2.5, 3), (5_000, 10_000, 0.5, 1)],
)
@pytest.mark.usefixtures("eight_cpus")
def test_version_1_states_quota_and_period_apart(
    tmp_path: Path, quota: int, period: int, expected: float | None, threads: int
) -> None:
    root = version_1(tmp_path, quota, period)
    assert cpu_quota(root) == expected
    assert usable_cpus(root) == threads


@pytest.mark.usefixtures("eight_cpus")
def test_what_cannot_be_read_limits_nothing(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path) == 8
    with pytest.raises(FileNotFoundError):
        cpu_quota(tmp_path)
    root = version_2(tmp_path, "nonsense 100000\n", "max 100000\n")
    assert usable_cpus(root) == 8
    with pytest.raises(ValueError, match="nonsense"):
        cpu_quota(root)


def test_this_machine() -> None:
    assert 1 <= usable_cpus() <= len(os.sched_getaffinity(0))
