"""Every reference model compiles, runs without the compiler, and matches ONNX Runtime."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from ingot.compiler.build import compile_model
from ingot.compiler.inputs import random_inputs
from ingot.models.catalog import REFERENCE_MODELS, resolve
from ingot.reference.session import Reference

# Largest difference from ONNX Runtime, as a part of the output's largest magnitude.
BOUND = 1e-5

PROGRAM = """
import json, sys
import numpy as np
from ingot.runtime import Session
session = Session(sys.argv[1])
outputs = session.run(dict(np.load(sys.argv[2])))
np.savez(sys.argv[3], **outputs)
print(json.dumps([name for name in ("tvm", "onnx", "onnxruntime") if name in sys.modules]))
"""


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("name", REFERENCE_MODELS)
def test_artifact_matches_onnxruntime(name: str, tmp_path: Path) -> None:
    source = resolve(name)
    artifact = compile_model(source.path, tmp_path / f"{name}.ingot")
    reference = Reference(source.path)
    inputs = random_inputs(ir.load(source.path), seed=1)
    expected = reference.run(inputs)
    np.savez(tmp_path / "in.npz", **inputs)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, artifact.path, tmp_path / "in.npz", tmp_path / "out.npz"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
    actual = np.load(tmp_path / "out.npz")
    for output, array in expected.items():
        scale = float(np.abs(array).max())
        assert np.abs(actual[output] - array).max() <= BOUND * scale
