"""Linking works without a home; no room to link in is an error, and not the end of the process."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from ingot.compiler.build import compile_model
from ingot.errors import IngotError
from ingot.runtime.cpu_features import machine_architecture
from ingot.runtime.interface import Interface
from ingot.runtime.program import KERNEL_PREFIX, Program
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


def full(path: Path, _: bytes) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def test_no_room_for_objects_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(
        IngotError, match="linking the compiled code failed: No space left on device; free"
    ):
        link_code({}, {"symbol": b"object"}, NO_PROGRAM, "x86_64")


RETURNS = {
    "x86_64": "mov ${0}, %eax\nret",
    "aarch64": "mov w0, #{0}\nret",
}


def assembled(symbol: str, number: int, architecture: str, folder: Path) -> bytes:
    """An object file that defines a kernel which returns a number."""
    source, made = folder / "kernel.s", folder / "kernel.o"
    lines = RETURNS[architecture].format(number)
    source.write_text(f".globl {KERNEL_PREFIX}{symbol}\n{KERNEL_PREFIX}{symbol}:\n{lines}\n")
    command = [sys.executable, "-m", "ziglang", "cc", "-c", "-target", f"{architecture}-linux-gnu"]
    subprocess.run([*command, "-o", str(made), str(source)], check=True)
    return made.read_bytes()


def test_kernels_are_known_by_their_names_alone(tmp_path: Path) -> None:
    architecture = machine_architecture()
    objects = {
        symbol: assembled(symbol, number, architecture, tmp_path)
        for symbol, number in {"1a": 7, "2b": 8}.items()
    }
    names = {"first": "2b", "second": "1a", "third": "2b"}
    library = tmp_path / "lib.so"
    library.write_bytes(link_code(names, objects, NO_PROGRAM, architecture))
    loaded = ctypes.CDLL(str(library))
    assert [getattr(loaded, KERNEL_PREFIX + name)() for name in names] == [8, 7, 8]
    assert not hasattr(loaded, KERNEL_PREFIX + "1a")


@pytest.mark.slow
@pytest.mark.parametrize("architecture", RETURNS)
def test_kernels_are_linked_for_either_architecture(architecture: str, tmp_path: Path) -> None:
    objects = {"1a": assembled("1a", 7, architecture, tmp_path)}
    library = link_code({"first": "1a"}, objects, NO_PROGRAM, architecture)
    assert library.startswith(b"\x7fELF")
    assert f"{KERNEL_PREFIX}first\0".encode() in library


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
