"""Builds the runtime's own library, for the processors that Ingot compiles for.

    python build_support/native.py

The compiler is the ``ziglang`` wheel's; none of the system's is needed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_RUNTIME = Path(__file__).resolve().parent.parent / "ingot" / "runtime"
_SOURCES = _RUNTIME / "native"
FOLDER = _RUNTIME / "lib"
# The oldest C library that the wheel's tag promises to run with.
_C_LIBRARY = "2.28"
ARCHITECTURES = ("x86_64", "aarch64")


def library_path(architecture: str) -> Path:
    """Returns where the library for an architecture is built."""
    return FOLDER / f"libingot-{architecture}.so"


def build(architecture: str) -> Path:
    """Compiles and links the library; returns its path."""
    target = library_path(architecture)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(f".{os.getpid()}.partial")
    command = [
        sys.executable, "-m", "ziglang", "cc", "-shared", "-fPIC", "-s", "-O2", "-std=gnu11",
        "-Wall", "-Wextra", "-Werror", "-target", f"{architecture}-linux-gnu.{_C_LIBRARY}",
        "-Wl,--build-id=none", "-o", partial.name,
        *(str(path) for path in sorted(_SOURCES.glob("*.c"))),
    ]  # fmt: skip
    try:
        subprocess.run(command, check=True, cwd=target.parent)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def build_all() -> list[Path]:
    """Builds the library for each architecture; returns the paths."""
    return [build(architecture) for architecture in ARCHITECTURES]


if __name__ == "__main__":
    build_all()
