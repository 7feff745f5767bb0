"""Linking object files to a shared library with the ``ziglang`` wheel: no system compiler."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tvm import relax

from ingot.errors import IngotError


def link_executable(executable: relax.VMExecutable, architecture: str) -> bytes:
    """Links an executable and returns the bytes of its shared library.

    Args:
        executable: What TVM built.
        architecture: ``x86_64`` or ``aarch64``; links for either on either.

    Raises:
        IngotError: The linker failed; the message has its last line.
    """

    def link(output: str, objects: list[str], **_: object) -> None:
        # Symbols of the TVM runtime stay undefined: the process that loads it provides them.
        command = [
            sys.executable, "-m", "ziglang", "cc", "-shared", "-fPIC", "-s",
            "-target", f"{architecture}-linux-gnu", "-Wl,--build-id=none",
            "-o", output, *sorted(objects),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["no message"]
            raise IngotError(f"linking the compiled code failed: {lines[-1]}")

    with tempfile.TemporaryDirectory(prefix="ingot-") as folder:
        path = Path(folder) / "lib.so"
        executable.export_library(str(path), fcompile=link, workspace_dir=folder)
        return path.read_bytes()
