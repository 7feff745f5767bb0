"""A process in which an access outside of a tensor is its end; this one survives to tell."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray[Any, Any]]


def build_allocator(folder: Path) -> Path:
    """Builds the library that is preloaded."""
    library = folder / "guarded.so"
    source = Path(__file__).with_name("allocator.c")
    command = [sys.executable, "-m", "ziglang", "cc", "-O1", "-shared", "-fPIC", "-o"]
    subprocess.run([*command, str(library), str(source), "-ldl"], check=True)
    return library


class GuardedProcess:
    """Runs artifacts where inputs, outputs, weights and intermediates have guards around them."""

    def __init__(self, allocator: Path) -> None:
        """Takes the library of ``build_allocator``."""
        self._allocator = allocator
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, path: str, inputs: Any) -> Any:
        """Returns the process's answer; a process that ended is started anew by the next call.

        Raises:
            AssertionError: The process ended.
        """
        if self._process is None:
            environment = {**os.environ, "LD_PRELOAD": str(self._allocator)}
            command = [sys.executable, "-m", "tests.guarded.worker"]
            self._process = subprocess.Popen(
                command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            pickle.dump((path, inputs), self._process.stdin)
            self._process.stdin.flush()
            return pickle.load(self._process.stdout)
        except (EOFError, BrokenPipeError):
            _, said = self._process.communicate()
            code, self._process = self._process.returncode, None
            lines = said.decode(errors="replace").strip().splitlines()[-1:]
            raise AssertionError(f"the process ended with {code}: {' '.join(lines)}") from None

    def run(self, path: Path, inputs: Arrays) -> Arrays | tuple[str, str]:
        """Returns an artifact's outputs, or the type and the text of the error."""
        answer: Arrays | tuple[str, str] = self.ask(str(path), dict(inputs))
        return answer

    def close(self) -> None:
        """Ends the process."""
        if self._process is not None:
            self._process.communicate()
            self._process = None
