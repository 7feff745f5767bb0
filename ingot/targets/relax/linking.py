"""Linking object files to a shared library with the ``ziglang`` wheel: no system compiler."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import tvm

from ingot.errors import IngotError, first_line
from ingot.files import can_write_in, user_cache
from ingot.runtime.program import PROGRAM_SYMBOL, RAISE_POINTER, Program

_CACHE_VARIABLE = "ZIG_GLOBAL_CACHE_DIR"
_LONGEST_SECONDS = 600.0
# What TVM calls the object files of an executable: of its code, and of what it carries along.
_OBJECTS = ("lib0.o", "devc.o")


_PROGRAM, _CARRIER = "program.json", "carrier.c"
# The program's text, and what TVM's code expects of the process that loads it: the one function
# that it does not call by a pointer which the loader sets.
_CARRIER_SOURCE = f"""
void (*{RAISE_POINTER})(const char *, const char **, int);
__attribute__((visibility("hidden")))
void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int count) {{
  {RAISE_POINTER}(kind, parts, count);
}}
__asm__(".section .rodata\\n.globl {PROGRAM_SYMBOL}\\n{PROGRAM_SYMBOL}:\\n"
        ".incbin \\"{_PROGRAM}\\"\\n.byte 0\\n.text\\n");
"""


def link_code(library: tvm.runtime.Module | None, program: Program, architecture: str) -> bytes:
    """Links kernels and the program that uses them; returns the bytes of the shared library.

    Args:
        library: The kernels that TVM built; None where there are none.
        program: How they are used.
        architecture: ``x86_64`` or ``aarch64``; links for either on either.

    Raises:
        IngotError: The linker failed; the message has its last line.
    """

    def link(output: str, objects: list[str], **_: object) -> None:
        for file in objects:
            _to_disk(Path(file))
        # Symbols of the TVM runtime stay undefined: the process that loads it provides them.
        command = [
            sys.executable, "-m", "ziglang", "cc", "-shared", "-fPIC", "-s",
            "-target", f"{architecture}-linux-gnu", "-Wl,--build-id=none",
            "-o", output, *sorted(objects), _CARRIER,
        ]  # fmt: skip
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", check=False, cwd=folder,
                timeout=_LONGEST_SECONDS, env={**os.environ, _CACHE_VARIABLE: str(_cache())},
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise IngotError(f"linking the compiled code failed: {first_line(error)}") from error
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise IngotError(f"linking the compiled code failed: {lines[-1]}")

    try:
        with tempfile.TemporaryDirectory(prefix="ingot-") as folder, _objects_in_memory(folder):
            path = Path(folder) / "lib.so"
            (Path(folder) / _CARRIER).write_text(_CARRIER_SOURCE, encoding="ascii")
            (Path(folder) / _PROGRAM).write_text(program.to_json(), encoding="utf-8")
            if library is None:
                link(str(path), [])
            else:
                library.export_library(str(path), fcompile=link, workspace_dir=folder)
            return path.read_bytes()
    except OSError as error:
        raise IngotError(
            f"linking the compiled code failed: {error.strerror or error}; free space in "
            f"{tempfile.gettempdir()}, the folder for temporary files, or set TMPDIR"
        ) from error


@contextlib.contextmanager
def _objects_in_memory(folder: str) -> Iterator[None]:
    """Has object files written to memory: LLVM ends the process where a disk is full."""
    with contextlib.ExitStack() as stack:
        for name in _OBJECTS:
            memory = os.memfd_create(name)
            stack.callback(os.close, memory)
            (Path(folder) / name).symlink_to(f"/proc/self/fd/{memory}")
        yield


def _to_disk(path: Path) -> None:
    """Makes a file of an object that lies in memory, for the linker, which is another process."""
    if path.is_symlink():
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)


def _cache() -> Path:
    """Where the linker keeps what it has built of the C library: its own place, if it can write.

    It ends in an error where there is none, as without a home, and never where it cannot write.
    """
    own = os.environ.get(_CACHE_VARIABLE)
    folder = Path(own).absolute() if own else user_cache("zig")
    if folder is not None and can_write_in(folder):
        return folder
    return Path(_cache_of_this_process().name)


@functools.cache
def _cache_of_this_process() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="ingot-linker-")
