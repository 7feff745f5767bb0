"""Compile here, run there: a deployed machine needs the artifact and the base install, no compiler.

Compiles the bundled model, copies the artifact into a folder that stands for the other machine, and
runs it in a process that imports nothing but the runtime. There, ``pip install`` the wheel that
``make wheel`` builds: numpy, apache-tvm-ffi and Ingot's runtime.

Run: python examples/compile_and_deploy.py
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import ingot
from ingot.models.catalog import resolve

# All that the deployed machine runs.
DEPLOYED = """
import sys
import numpy as np
from ingot.runtime import Session

with Session("model.ingot", threads=1) as session:
    spec = session.inputs[0]
    images = np.zeros((4, *spec.shape[1:]), spec.dtype)
    outputs = session.run({spec.name: images})
    print("deployed:", spec, "->", {name: array.shape for name, array in outputs.items()})

compilers = {"tvm", "onnx", "onnxruntime"} & set(sys.modules)
print("deployed: compiler packages in memory:", sorted(compilers) or "none")
"""


def main() -> None:
    """Compiles, copies, runs."""
    with tempfile.TemporaryDirectory() as folder:
        build, device = Path(folder, "build"), Path(folder, "device")
        build.mkdir()
        device.mkdir()
        artifact = ingot.compile(resolve("cifar_resnet").path, build / "model.ingot")
        print(f"built: {artifact.path.name}, {artifact.size:,} bytes", flush=True)
        shutil.copy(artifact.path, device)
        subprocess.run([sys.executable, "-c", DEPLOYED], cwd=device, check=True)


if __name__ == "__main__":
    main()
