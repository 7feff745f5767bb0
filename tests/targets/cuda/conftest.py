"""What tests of the CUDA target share."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from ingot.compiler.build import compile_model
from ingot.runtime.cuda import driver
from ingot.runtime.session import Session
from ingot.targets.cuda import target
from tests.targets.cuda.emulation import Compiler, build_driver

Inputs = Mapping[str, np.ndarray]
Run = Callable[[onnx.ModelProto, Inputs], dict[str, np.ndarray]]


@pytest.fixture(scope="session")
def emulated_driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_driver(tmp_path_factory.mktemp("driver"))


@pytest.fixture
def gpu(
    emulated_driver: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ctypes.CDLL]:
    """Has this process see a GPU, which is emulated, and compile for it."""
    monkeypatch.setattr(driver, "LIBRARY", str(emulated_driver))
    monkeypatch.setattr(target, "compile_source", Compiler(tmp_path, emulated_driver))
    monkeypatch.setattr(target, "require_extra", lambda: None)
    yield ctypes.CDLL(str(emulated_driver))


@pytest.fixture
def run(gpu: ctypes.CDLL, tmp_path: Path) -> Run:
    """Compiles a model for the GPU and runs it there."""

    def run(model: onnx.ModelProto, inputs: Inputs) -> dict[str, np.ndarray]:
        path = tmp_path / "model.ingot"
        recipe = {"verify": {"enabled": False}}
        compile_model(model, path, target="cuda:sm_80", recipe=recipe)
        with Session(path) as session:
            return session.run(dict(inputs))

    return run


def reference(model: onnx.ModelProto, inputs: Inputs) -> dict[str, np.ndarray]:
    """What ONNX Runtime computes."""
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))
