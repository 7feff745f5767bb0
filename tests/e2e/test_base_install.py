"""The base install alone loads and runs an artifact: no compiler, no ONNX, no command line."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ingot.compiler.build import Artifact

ROOT = Path(__file__).resolve().parents[2]
COMPILE_SIDE = ("tvm", "onnx", "onnx_ir", "onnxruntime", "onnxscript", "onnxsim", "pydantic",
                "typer", "rich", "scipy", "matplotlib", "torch")  # fmt: skip

PROGRAM = """
import importlib.util, json, sys
import numpy as np
import ingot
session = ingot.load(sys.argv[1], threads=2)
outputs = session.run({"image": np.load(sys.argv[2])})
np.save(sys.argv[3], outputs["logits"])
present = [name for name in sys.argv[4:] if importlib.util.find_spec(name)]
maps = open("/proc/self/maps").read()
print(json.dumps({"present": present, "compiler": "libtvm_compiler" in maps,
                  "where": ingot.__file__}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the sources."""
    source = tmp_path_factory.mktemp("source") / "ingot"
    kept_out = shutil.ignore_patterns(".git", ".venv", "build", "*.egg-info", "__pycache__", "demo",
                                      "tests", ".*_cache", ".hypothesis", "lib")  # fmt: skip
    shutil.copytree(ROOT, source, ignore=kept_out)
    program = (
        "import sys; sys.path.insert(0, 'build_support'); "
        "import ingot_build; ingot_build.build_wheel('.')"
    )
    subprocess.run([sys.executable, "-c", program], cwd=source, check=True, capture_output=True)
    (built,) = source.glob("*.whl")
    return built


def base_requirements(distribution: str = "ingot") -> Iterator[str]:
    """The distributions that the base install brings, from their metadata."""
    for requirement in importlib.metadata.requires(distribution) or []:
        if "extra ==" not in requirement:
            match = re.match(r"[A-Za-z0-9._-]+", requirement)
            assert match is not None
            yield match.group()
            yield from base_requirements(match.group())


def run_alone(python: Path, artifact: Artifact, image: np.ndarray, folder: Path) -> np.ndarray:
    """Runs the artifact in an environment; checks that nothing of the compile side is there."""
    np.save(folder / "in.npy", image)
    done = subprocess.run(
        [python, "-I", "-c", PROGRAM, artifact.path, folder / "in.npy", folder / "out.npy",
         *COMPILE_SIDE],
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["present"] == []
    assert not found["compiler"]
    assert str(folder) in found["where"]
    return np.load(folder / "out.npy")


def test_the_wheel_is_small_and_carries_the_runtime(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        sizes = {info.filename: info.compress_size for info in archive.infolist()}
    assert sizes["ingot/runtime/lib/libtvm_runtime.so"] > 0
    bundled = sum(size for name, size in sizes.items() if name.startswith("ingot/models/bundled/"))
    assert 0 < bundled <= 6 << 20
    assert not any(name.startswith("tests/") for name in sizes)


def test_the_requirements_of_the_base_alone_are_enough(
    wheel: Path, small_artifact: Artifact, image: np.ndarray, tmp_path: Path
) -> None:
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    (site,) = (tmp_path / "env").glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    for distribution in set(base_requirements()):
        files = importlib.metadata.files(distribution) or []
        for top in {file.parts[0] for file in files if ".." not in file.parts}:
            origin = Path(str(importlib.metadata.distribution(distribution).locate_file(top)))
            (site / top).symlink_to(origin)
    actual = run_alone(tmp_path / "env" / "bin" / "python", small_artifact, image, tmp_path)
    expected = small_artifact.session(threads=2).run(image)["logits"]
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.network
def test_a_fresh_environment_with_the_wheel_installed_runs_an_artifact(
    wheel: Path, small_artifact: Artifact, image: np.ndarray, tmp_path: Path
) -> None:
    subprocess.run(
        [sys.executable, ROOT / "build_support" / "make_venv.py", tmp_path / "env"], check=True
    )
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True)
    actual = run_alone(python, small_artifact, image, tmp_path)
    expected = small_artifact.session(threads=2).run(image)["logits"]
    np.testing.assert_array_equal(actual, expected)
    said = subprocess.run([tmp_path / "env" / "bin" / "ingot"], capture_output=True, text=True)
    assert said.returncode == 2
    assert "pip install 'ingot[compile]'" in said.stderr
