"""A GPU that is this processor: the CUDA C of an artifact's kernels, run thread by thread.

NVRTC's place is taken by a C++ compiler, and the driver's by ``emulated_gpu.cpp``. All else is what
runs with a GPU: schedules, generated code, the plan of memory and launches, and the runtime.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

_HERE = Path(__file__).parent
_KERNEL = re.compile(
    r'^extern "C" __global__ void (?:__launch_bounds__\(\d+\) )?(\w+)\(([^;{]*)\);$', re.MULTILINE
)


def _build(source: Path, target: Path, *options: str) -> None:
    flags = ["-shared", "-fPIC", "-nostdlib++", "-w", "-fno-exceptions", "-fno-sanitize=all"]
    files = [str(source), "-o", str(target)]
    command = [sys.executable, "-m", "ziglang", "c++", *flags, *options, *files]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:4000]


def build_driver(folder: Path) -> Path:
    """Builds the driver's stand-in; returns the library's path."""
    library = folder / "libcuda-emulated.so"
    _build(_HERE / "emulated_gpu.cpp", library, "-O2", "-ldl")
    return library


class Compiler:
    """Stands in for NVRTC; an image is the path of a library."""

    def __init__(self, folder: Path, driver: Path) -> None:
        """Keeps what it builds in a folder; code calls the driver's stand-in to synchronize."""
        self._folder = folder
        self._driver = driver

    def __call__(self, source: str, architecture: str) -> bytes:
        """Compiles CUDA C for the processor."""
        del architecture
        name = hashlib.sha256(source.encode()).hexdigest()[:16]
        text = self._folder / f"{name}.cpp"
        text.write_text(emulated(source))
        library = self._folder / f"{name}.so"
        _build(text, library, "-O1", f"-I{_HERE}", str(self._driver))
        return str(library).encode() + b"\0"


def emulated(source: str) -> str:
    """Returns C++ of CUDA C: beside each kernel a function that takes pointers to arguments."""
    kernels = source[source.index('extern "C" __global__') :]
    kernels = kernels.replace(
        "__shared__ alignas(64)", "alignas(64) static"
    )  # blocks run one after the other
    kernels = kernels.replace("extern __shared__", "static __attribute__((aligned(64)))")
    wrappers = []
    for name, parameters in _KERNEL.findall(source):
        kinds = [each.rsplit(" ", 1)[0] for each in parameters.split(",")]
        given = ", ".join(f"*({kind}*)arguments[{at}]" for at, kind in enumerate(kinds))
        wrappers.append(f'extern "C" void emulated_{name}(void **arguments) {{ {name}({given}); }}')
    return "\n".join(['#include "emulated_cuda.h"', kernels, *wrappers, ""])
