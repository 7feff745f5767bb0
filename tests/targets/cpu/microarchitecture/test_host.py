"""Caches are read from the kernel's folders, each as a core's share of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingot.targets.cpu.microarchitecture.host import cache_bytes, cache_shares

# Level, kind, size, and the CPUs that share it.
Cache = tuple[int, str, str, str]


def machine(folder: Path, caches: list[Cache]) -> Path:
    for number, (level, kind, size, sharers) in enumerate(caches):
        index = folder / "cache" / f"index{number}"
        index.mkdir(parents=True)
        for name, text in (
            ("level", str(level)), ("type", kind), ("size", size), ("shared_cpu_list", sharers),
        ):  # fmt: skip
            (index / name).write_text(f"{text}\n")
    return folder


@pytest.mark.parametrize(
    ("caches", "shares"),
    [
        pytest.param(
            [(1, "Data", "32K", "0"), (1, "Instruction", "64K", "0"), (2, "Unified", "1024K", "0"),
             (3, "Unified", "32768K", "0-7")],
            {1: 32 << 10, 2: 1 << 20, 3: 4 << 20},
            id="eight cores share the third level",
        ),
        pytest.param(
            [(1, "Data", "48K", "0,32"), (2, "Unified", "2048K", "0,32"),
             (3, "Unified", "61440K", "0-63")],
            {1: 48 << 10, 2: 2 << 20, 3: 1920 << 10},
            id="two threads of a core share all of it",
        ),
        pytest.param(
            [(1, "Data", "32K", "0"), (2, "Unified", "1024K", "0-3")],
            {1: 32 << 10, 2: 256 << 10},
            id="four cores share the second level, which is the last",
        ),
        pytest.param([], {}, id="a virtual machine that tells nothing"),
    ],
)  # fmt: skip
def test_a_core_has_its_share(tmp_path: Path, caches: list[Cache], shares: dict[int, int]) -> None:
    assert cache_shares(machine(tmp_path, caches)) == shares


def test_a_cache_of_which_too_little_is_told_is_left_out(tmp_path: Path) -> None:
    folder = machine(tmp_path, [(1, "Data", "32K", "0"), (2, "Unified", "1024K", "0")])
    (folder / "cache" / "index1" / "size").unlink()
    assert cache_shares(folder) == {1: 32 << 10}
    assert cache_bytes(2, folder) == 0


def test_a_whole_cache_is_what_all_see_together(tmp_path: Path) -> None:
    folder = machine(tmp_path, [(1, "Data", "32K", "0"), (3, "Unified", "32768K", "0-7")])
    assert cache_bytes(3, folder) == 32 << 20
    assert cache_bytes(2, folder) == 0
