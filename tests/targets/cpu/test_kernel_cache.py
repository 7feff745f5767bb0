"""Kernels' machine code is kept by content, and never trusted when it is damaged."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from tvm import tirx
from tvm.script import tirx as T

from ingot.errors import UsageError
from ingot.files import CACHE_VARIABLE
from ingot.targets.cpu.kernel_cache import SIZE_VARIABLE, KernelCache, KernelCode, kernel_digests
from ingot.targets.cpu.machine import describe_cpu

CPU = describe_cpu("native", threads=2)
CODE = KernelCode(b"machine code", scheduled=True)
DIGEST, OTHER = "ab" * 32, "cd" * 32


def added(number: float, dtype: str = "float32") -> tirx.PrimFunc:
    @T.prim_func(private=True)
    def function(x: T.Buffer((8,), dtype), y: T.Buffer((8,), dtype)) -> None:
        for i in range(8):
            y[i] = x[i] + T.Cast(dtype, number)

    return function


def digest(function: tirx.PrimFunc, cpu: object = CPU) -> str:
    (only,) = kernel_digests([function], cpu)
    return only


@pytest.fixture
def cache(tmp_path: Path) -> KernelCache:
    return KernelCache(tmp_path / "kernels", limit=1 << 20)


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.kernel"))


def test_a_name_does_not_count() -> None:
    named = [added(1.0).with_attr("global_symbol", name) for name in ("one", "another")]
    assert len({digest(added(1.0)), *map(digest, named)}) == 1


def test_code_and_processor_count() -> None:
    others = [
        dataclasses.replace(CPU, threads=1),
        dataclasses.replace(CPU, vector_bytes=16),
        dataclasses.replace(CPU, core=dataclasses.replace(CPU.core, l2_bytes=1 << 16)),
    ]
    found = [digest(added(1.0)), digest(added(2.0)), digest(added(1.0, "float64"))]
    found += [digest(added(1.0), cpu) for cpu in others]
    assert len(set(found)) == len(found)


def test_attributes_that_the_code_is_written_by_count() -> None:
    assert digest(added(1.0)) != digest(added(1.0).with_attr("ingot.family", "matmul"))


@pytest.mark.parametrize("scheduled", [True, False])
def test_code_is_found_by_its_digest(cache: KernelCache, scheduled: bool) -> None:
    code = KernelCode(b"\x7fELF", scheduled)
    cache.store(DIGEST, code)
    assert cache.load(DIGEST) == code
    assert cache.load(OTHER) is None


@pytest.mark.parametrize("place", [0, 20, -1])
def test_damaged_code_is_not_there(cache: KernelCache, tmp_path: Path, place: int) -> None:
    cache.store(DIGEST, CODE)
    (file,) = files(tmp_path)
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)
    assert cache.load(DIGEST) is None
    cache.store(DIGEST, CODE)
    assert cache.load(DIGEST) == CODE


def test_code_under_another_digest_is_not_there(cache: KernelCache, tmp_path: Path) -> None:
    cache.store(DIGEST, CODE)
    cache.store(OTHER, CODE)
    one, other = files(tmp_path)
    other.write_bytes(one.read_bytes())
    assert cache.load(OTHER) is None


def test_what_was_not_used_for_longest_is_removed(tmp_path: Path) -> None:
    cache = KernelCache(tmp_path, limit=5000)
    digests = [f"{number:02x}" * 32 for number in range(8)]
    for age, each in enumerate(digests):
        cache.store(each, KernelCode(bytes(1000), scheduled=True))
        os.utime(next(tmp_path.glob(f"*/{each}.kernel")), (1000 + age, 1000 + age))
    assert cache.load(digests[0]) is not None  # used: the youngest now
    cache.tidy()
    left = [each for each in digests if cache.load(each) is not None]
    assert left == [digests[0], *digests[-3:]]
    assert sum(file.stat().st_size for file in files(tmp_path)) <= 5000


def test_nothing_is_removed_where_there_is_room(cache: KernelCache) -> None:
    cache.store(DIGEST, CODE)
    cache.store(OTHER, CODE)
    cache.tidy()
    assert cache.load(DIGEST) == cache.load(OTHER) == CODE


def test_a_cache_that_cannot_be_written_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = KernelCache(tmp_path / "file" / "kernels", limit=1 << 20)
    cache.store(DIGEST, CODE)
    cache.tidy()
    assert cache.load(DIGEST) is None


def test_the_users_cache_is_switched_off_by_its_size(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setenv(SIZE_VARIABLE, "0")
    assert KernelCache.of_user() is None
    monkeypatch.delenv(SIZE_VARIABLE)
    cache = KernelCache.of_user()
    assert cache is not None
    cache.store(DIGEST, CODE)
    assert files(tmp_path / "kernels")


@pytest.mark.parametrize("stated", ["-1", "1.5", "all", "²"])
def test_a_size_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, stated: str) -> None:
    monkeypatch.setenv(SIZE_VARIABLE, stated)
    with pytest.raises(UsageError, match="give a whole number of MiB"):
        KernelCache.of_user()
