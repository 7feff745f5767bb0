"""Linking works without a home; no room to link in is an error, and not the end of the process."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest

from ingot.compiler.build import compile_model
from ingot.errors import IngotError
from ingot.runtime.interface import Interface
from ingot.runtime.program import Program
from ingot.targets.relax import linking
from ingot.targets.relax.linking import link_code

PROGRAM = """
import sys
from ingot.compiler.build import compile_model
from ingot.errors import IngotError
try:
    compile_model(sys.argv[1], sys.argv[2])
except IngotError as error:
    print(error)
"""


NO_PROGRAM = Program(1, Interface((), (), ()), (), (), (), (), (), 0, 0, 0, 0, (), ())


class Written:
    """What stands for kernels: it writes an object where it is told to, and has it linked."""

    def export_library(self, output: str, *, fcompile: Any, workspace_dir: str) -> None:
        place = Path(workspace_dir) / "lib0.o"
        place.write_bytes(b"object")
        assert place.readlink().parent == Path("/proc/self/fd")
        fcompile(output, [str(place)])


def full(path: Path) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def test_objects_lie_in_memory_until_there_is_room_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(linking, "_to_disk", full)
    with pytest.raises(
        IngotError, match="linking the compiled code failed: No space left on device; free"
    ):
        link_code(Written(), NO_PROGRAM, "x86_64")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 60 kB, where this process may make one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=60k", "none", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.slow
def test_a_full_disk_is_an_error(small_model: Path, small_disk: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(small_model), str(tmp_path / "small.ingot")],
        env={**os.environ, "TMPDIR": str(small_disk)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "No space left on device; free space in" in done.stdout


MODEL = (
    """<ir_version: 10, opset_import: ["": 20]> g (float[4] x) => (float[4] y) { y = Relu(x) }"""
)


@pytest.mark.parametrize(
    "environment",
    [
        {"HOME": None, "XDG_CACHE_HOME": None},
        {"HOME": "/proc/none", "XDG_CACHE_HOME": None},
        {"XDG_CACHE_HOME": "/dev/null"},
        {"ZIG_GLOBAL_CACHE_DIR": "/proc/none"},
        {"XDG_CACHE_HOME": "relative"},
    ],
)
def test_the_linker_gets_a_cache_that_it_can_write_to(
    environment: dict[str, str | None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)

    def in_no_list(_: int) -> None:
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", in_no_list)
    cache = linking._cache()
    assert cache.is_absolute()
    (cache / "probe").write_text("")
    assert list(tmp_path.iterdir()) == []


def test_a_linker_that_hangs_or_is_missing_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], **_: object) -> None:
        raise subprocess.TimeoutExpired(command, 600)

    monkeypatch.setattr("subprocess.run", hang)
    with pytest.raises(IngotError, match="linking the compiled code failed: .*timed out"):
        compile_model(onnx.parser.parse_model(MODEL), "none.ingot")


@pytest.mark.slow
def test_a_model_compiles_with_a_cache_that_goes_with_the_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", "/proc/none")
    compile_model(onnx.parser.parse_model(MODEL), tmp_path / "m.ingot")
