"""The base install alone loads and runs an artifact: no compiler, no ONNX, no command line."""

from __future__ import annotations

import email
import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest

from ingot.compiler.build import Artifact, compile_model

ROOT = Path(__file__).resolve().parents[2]
COMPILE_SIDE = ("tvm", "tvm_ffi", "onnx", "onnx_ir", "onnxruntime", "onnxscript", "onnxsim",
                "pydantic", "typer", "rich", "scipy", "matplotlib", "torch")  # fmt: skip

PROGRAM = """
import importlib.util, json, sys
import numpy as np
import ingot
from ingot import profiling
session = ingot.load(sys.argv[1], threads=2)
with profiling.start("deployed", kernels=True) as recorded:
    outputs = session.run({"image": np.load(sys.argv[2])})
trace = profiling.read_trace(recorded.save(sys.argv[3] + ".json.gz"))
assert {event.source for event in trace.events} >= {"session", "kernel"}, trace
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


def requirements(wheel: Path, extra: str) -> set[str]:
    """The distributions that an install of the wheel brings, the base or one with an extra."""
    with zipfile.ZipFile(wheel) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        stated = email.message_from_bytes(archive.read(metadata)).get_all("Requires-Dist", [])
    found: set[str] = set()
    for requirement in stated:
        _add(found, requirement, extra)
    return found


def _add(found: set[str], requirement: str, extra: str = "") -> None:
    """Adds a requirement, if it is one without an extra or with this one, and what it requires."""
    wanted = re.search(r"extra == [\"'](\w+)[\"']", requirement)
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None
    if (wanted is None or wanted.group(1) == extra) and name.group() not in found:
        found.add(name.group())
        for further in importlib.metadata.requires(name.group()) or []:
            _add(found, further)


def environment(wheel: Path, folder: Path, extra: str = "") -> Path:
    """Makes an environment of the wheel and what it requires; returns its Python."""
    venv.create(folder / "env", with_pip=False, symlinks=True)
    (site,) = (folder / "env").glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    for distribution in requirements(wheel, extra):
        files = importlib.metadata.files(distribution) or []
        for top in {file.parts[0] for file in files if ".." not in file.parts}:
            origin = Path(str(importlib.metadata.distribution(distribution).locate_file(top)))
            if not (site / top).exists():
                (site / top).symlink_to(origin)
    return folder / "env" / "bin" / "python"


def run_alone(
    python: Path, artifact: Artifact, image: np.ndarray, folder: Path, beside: tuple[str, ...] = ()
) -> np.ndarray:
    """Runs the artifact in an environment; checks what of the compile side is there."""
    np.save(folder / "in.npy", image)
    done = subprocess.run(
        [python, "-I", "-c", PROGRAM, artifact.path, folder / "in.npy", folder / "out.npy",
         *COMPILE_SIDE],
        cwd=folder, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert tuple(found["present"]) == beside
    assert not found["compiler"]
    assert str(folder) in found["where"]
    return np.load(folder / "out.npy")


def test_the_wheel_is_small_and_carries_the_runtime(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        sizes = {info.filename: info.compress_size for info in archive.infolist()}
    for architecture in ("x86_64", "aarch64"):
        assert 0 < sizes[f"ingot/runtime/lib/libingot-{architecture}.so"] < 100_000
    assert wheel.stem.endswith("manylinux_2_28_aarch64.manylinux_2_28_x86_64")
    bundled = sum(size for name, size in sizes.items() if name.startswith("ingot/models/bundled/"))
    assert 0 < bundled <= 6 << 20
    assert not any(name.startswith("tests/") for name in sizes)


def test_the_requirements_of_the_base_alone_are_enough(
    wheel: Path, small_artifact: Artifact, image: np.ndarray, tmp_path: Path
) -> None:
    actual = run_alone(environment(wheel, tmp_path), small_artifact, image, tmp_path)
    expected = small_artifact.session(threads=2).run(image)["logits"]
    np.testing.assert_array_equal(actual, expected)


@pytest.fixture(scope="module")
def with_a_region(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A convolution, which is compiled, and a determinant, which ONNX Runtime computes."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]>
        regions (float[N, 3, 16, 16] image) => (float[N, 3] logits)
        <float[3, 3, 1, 1] w = {1, 2, 3, 4, 5, 6, 7, 8, 9}>
        { a = Conv(image, w) logits = Det(a) }"""
    )
    path = tmp_path_factory.mktemp("regions") / "regions.ingot"
    artifact = compile_model(model, path)
    assert artifact.manifest.regions and "lib.so" in artifact.manifest.members
    return artifact


def test_regions_run_with_the_extra_fallback(
    wheel: Path, with_a_region: Artifact, tmp_path: Path
) -> None:
    image = np.random.default_rng(0).normal(size=(2, 3, 16, 16)).astype(np.float32) * 0.3
    python = environment(wheel, tmp_path, extra="fallback")
    actual = run_alone(python, with_a_region, image, tmp_path, beside=("onnxruntime",))
    expected = with_a_region.session(threads=2).run(image)["logits"]
    np.testing.assert_array_equal(actual, expected)


def test_without_the_extra_loading_says_what_to_install(
    wheel: Path, with_a_region: Artifact, tmp_path: Path
) -> None:
    python = environment(wheel, tmp_path)
    program = "import sys, ingot; ingot.load(sys.argv[1])"
    done = subprocess.run(
        [python, "-I", "-c", program, with_a_region.path], capture_output=True, text=True
    )
    assert "pip install 'ingot[fallback]'" in done.stderr.splitlines()[-1]


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
