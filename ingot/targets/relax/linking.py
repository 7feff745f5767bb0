"""Linking object files to a shared library with the ``ziglang`` wheel: no system compiler."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ingot.errors import IngotError, first_line
from ingot.files import can_write_in, temporary_folder, temporary_place, user_cache
from ingot.runtime.program import KERNEL_PREFIX, PROGRAM_SYMBOL, RAISE_POINTER, Program

_CACHE_VARIABLE = "ZIG_GLOBAL_CACHE_DIR"
_LONGEST_SECONDS = 600.0

_PROGRAM, _CARRIER, _LIBRARY = "program.json", "carrier.c", "lib.so"
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
_JUMP = {"x86_64": "jmp", "aarch64": "b"}


def link_code(
    kernels: Mapping[str, str], objects: Mapping[str, bytes], program: Program, architecture: str
) -> bytes:
    """Links kernels and the program that uses them; returns the bytes of the shared library.

    Args:
        kernels: The symbol of each kernel's code by the kernel's name; several may have one.
        objects: The object file that defines a symbol, linked in this order.
        program: How kernels are used.
        architecture: ``x86_64`` or ``aarch64``; links for either on either.

    Raises:
        IngotError: The linker failed; the message has its last line.
    """
    try:
        with temporary_folder() as folder:
            files = [f"{index}.o" for index in range(len(objects))]
            for file, content in zip(files, objects.values(), strict=True):
                (folder / file).write_bytes(content)
            carrier = _CARRIER_SOURCE + _entries(kernels, architecture)
            (folder / _CARRIER).write_text(carrier, encoding="ascii")
            (folder / _PROGRAM).write_text(program.to_json(), encoding="utf-8")
            _link(folder, files, architecture)
            return (folder / _LIBRARY).read_bytes()
    except OSError as error:
        raise IngotError(
            f"linking the compiled code failed: {error.strerror or error}; free space in "
            f"{temporary_place()}, the folder for temporary files, or set TMPDIR"
        ) from error


def _entries(kernels: Mapping[str, str], architecture: str) -> str:
    """Code that makes kernels, which have symbols of their content, known by their names."""
    lines = [".text"]
    for name, symbol in kernels.items():
        entry, code = KERNEL_PREFIX + name, KERNEL_PREFIX + symbol
        lines += [f".hidden {code}", f".globl {entry}", f".type {entry}, @function", f"{entry}:"]
        lines += [f"{_JUMP[architecture]} {code}"]
    return "".join(f'__asm__("{line}");\n' for line in lines)


def _link(folder: Path, objects: Sequence[str], architecture: str) -> None:
    # Symbols of the TVM runtime stay undefined: the process that loads it provides them. Each
    # object has the same few functions of TVM's, of which one is kept.
    command = [
        sys.executable, "-m", "ziglang", "cc", "-shared", "-fPIC", "-s",
        "-target", f"{architecture}-linux-gnu", "-Wl,--build-id=none", "-Wl,--gc-sections",
        "-o", _LIBRARY, *objects, _CARRIER,
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
    return tempfile.TemporaryDirectory(prefix="ingot-linker-", dir=temporary_place())
