"""KServe's own clients, over HTTP and gRPC, with binary tensors and without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving.running import Running

# Of an environment that has the package kserve, which pins what others need otherwise.
PYTHON = os.environ.get("INGOT_KSERVE_PYTHON", sys.executable)
PROGRAM = Path(__file__).with_name("kserve_program.py")


def test_health_inference_and_errors(served: Running) -> None:
    imports = subprocess.run([PYTHON, "-c", "import kserve"], capture_output=True, check=False)
    if imports.returncode:
        pytest.skip("kserve is not installed: INGOT_KSERVE_PYTHON names a Python that has it")
    address = f"127.0.0.1:{served.grpc_port}"
    command = [PYTHON, str(PROGRAM), served.url, address]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "answered 3" in done.stdout
