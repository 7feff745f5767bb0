"""Loading code leaves nothing behind when its session is closed."""

from __future__ import annotations

import contextlib
import gc
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from ingot.compiler.build import Artifact, compile_model
from ingot.errors import UsageError
from ingot.runtime.session import Session


def footprint() -> tuple[int, int]:
    """How many mappings and descriptors the process has."""
    gc.collect()
    mappings = Path("/proc/self/maps").read_text().count("\n")
    return mappings, len(os.listdir("/proc/self/fd"))


# Runs in a process of its own: others' garbage moves the resident memory of a process of tests.
_SESSIONS = """
import gc, os, pathlib, sys
import numpy as np
from ingot.runtime.session import Session

def load_run_close():
    with Session(sys.argv[1], threads=2) as session:
        return session.run(image)["logits"]

def footprint():
    gc.collect()
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    mappings = pathlib.Path("/proc/self/maps").read_text().count("\\n")
    return mappings, len(os.listdir("/proc/self/fd")), pages * os.sysconf("SC_PAGESIZE") // 1024

image = np.load(sys.argv[2])
expected = load_run_close()
before = footprint()
for _ in range(50):
    assert np.array_equal(load_run_close(), expected)
print(*(now - then for now, then in zip(footprint(), before)))
"""


def test_fifty_sessions_leave_neither_mappings_nor_descriptors_nor_memory(
    small_artifact: Artifact, image: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "image.npy", image)
    paths = str(small_artifact.path), str(tmp_path / "image.npy")
    command = [sys.executable, "-c", _SESSIONS, *paths]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    mappings, descriptors, kilobytes = map(int, shown.stdout.split())
    assert mappings < 20
    assert descriptors == 0
    assert kilobytes < 50 * 40


def test_loading_needs_no_folder_for_temporary_files(
    small_artifact: Artifact, image: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with Session(small_artifact.path) as session:
        assert session.run(image)["logits"].size


def test_a_session_that_fails_to_load_leaves_nothing(small_artifact: Artifact) -> None:
    def fail() -> None:
        with contextlib.suppress(UsageError):
            Session(small_artifact.path, executor="reference")

    fail()
    before = footprint()
    for _ in range(20):
        fail()
    assert footprint()[1] == before[1]
    assert footprint()[0] < before[0] + 10


def test_two_artifacts_at_once_have_their_own_code(
    small_artifact: Artifact, image: np.ndarray, tmp_path: Path
) -> None:
    """The loader takes a library of a name that it knows for the one that it has loaded."""
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 20]> g (float[4] x) => (float[4] y) { y = Neg(x) }"""
    )
    other = compile_model(model, tmp_path / "other.ingot")
    with Session(small_artifact.path) as one, Session(other.path) as two:
        assert one.run(image)["logits"].size
        assert two.run(np.ones(4, np.float32))["y"].tolist() == [-1, -1, -1, -1]
