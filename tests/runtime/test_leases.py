"""What is done to the file of a live session neither ends the process nor changes a result."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ingot.compiler.build import Artifact, compile_model
from ingot.errors import ArtifactError
from ingot.runtime import leases
from ingot.runtime.session import Session

# Runs each artifact over and over, in a child of its own too, until standard input ends.
PROGRAM = """
import os, select, sys
import numpy as np
from ingot.runtime import Session

x = np.random.default_rng(0).normal(size=(1, 512)).astype(np.float32)
sessions = [Session(path, threads=1) for path in sys.argv[1:]]
expected = [session.run(x)["y"].copy() for session in sessions]
inner = os.fork()
if inner:
    print("running", flush=True)
while not select.select([0], [], [], 0)[0]:
    for session, wanted in zip(sessions, expected):
        if not np.array_equal(session.run(x)["y"], wanted):
            os._exit(7)
for session, wanted in zip(sessions, expected):
    if not np.array_equal(session.run(x)["y"], wanted):
        os._exit(7)
if not inner:
    os._exit(0)
code = os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1])
print(f"the child ended with {code}", flush=True)
"""


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A product with a weight of 2 MiB, enough to be mapped."""
    weight = np.random.default_rng(0).normal(size=(512, 1024)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], "product")],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 512])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1024])],
        [numpy_helper.from_array(weight, "w")],
    )
    path = tmp_path_factory.mktemp("product") / "product.onnx"
    opsets = [helper.make_opsetid("", 20)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return compile_model(path, path.with_suffix(".ingot"))


def copy_over(path: Path) -> None:
    """As ``cp new.ingot live.ingot`` does."""
    with path.open("wb") as file:
        file.write(b"\xff" * 3_000_000)


def write_into(path: Path) -> None:
    """Other bytes of the same size."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.write(b"\xff" * size)


def cut_short(path: Path) -> None:
    os.truncate(path, 100)


def rename_over(path: Path) -> None:
    other = path.with_suffix(".new")
    other.write_bytes(b"\xff" * 3_000_000)
    other.replace(path)


WAYS = [copy_over, write_into, cut_short, rename_over, Path.unlink]


def mapped_files() -> int:
    return Path("/proc/self/maps").read_text().count("product")


def test_live_sessions_keep_their_weights_whatever_happens_to_their_files(
    product: Artifact, tmp_path: Path
) -> None:
    paths = [tmp_path / f"product-{number}.ingot" for number in range(len(WAYS))]
    for path in paths:
        shutil.copy(product.path, path)
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *map(str, paths)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "running\n"
        for way, path in zip(WAYS, paths, strict=True):
            way(path)
        child.stdin.close()
        assert child.stdout.readline() == "the child ended with 0\n"
        assert child.wait() == 0


def as_float(count: int) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(1, count)).astype(np.float32)


@pytest.fixture
def leases_here(tmp_path: Path) -> None:
    """Skips where the file system of temporary files gives no lease."""
    path = tmp_path / "leased"
    path.touch()
    with path.open("rb") as file:
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError as error:
            pytest.skip(f"no leases in {tmp_path}: {error.strerror}")


@pytest.mark.usefixtures("leases_here")
def test_weights_are_the_files_own_pages_until_somebody_writes(
    product: Artifact, tmp_path: Path
) -> None:
    path = tmp_path / "product.ingot"
    shutil.copy(product.path, path)
    with Session(path) as session, Session(path) as other:
        before = session.run(as_float(512))["y"]
        assert mapped_files() == 2
        copy_over(path)
        assert mapped_files() == 0
        for one in (session, other):
            np.testing.assert_array_equal(one.run(as_float(512))["y"], before)


def refused(*_: object) -> int:
    raise OSError(13, "no lease")


def test_without_a_lease_weights_are_copied(
    product: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "product.ingot"
    shutil.copy(product.path, path)
    monkeypatch.setattr(leases, "_take_lease", refused)
    with Session(path) as session:
        before = session.run(as_float(512))["y"]
        assert mapped_files() == 0
        copy_over(path)
        np.testing.assert_array_equal(session.run(as_float(512))["y"], before)


def test_a_file_that_somebody_writes_to_is_copied(product: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "product.ingot"
    shutil.copy(product.path, path)
    with path.open("r+b") as writer, Session(path) as session:
        before = session.run(as_float(512))["y"]
        writer.write(b"\xff" * 3_000_000)
        writer.flush()
        np.testing.assert_array_equal(session.run(as_float(512))["y"], before)


def fails(*_: object) -> bool:
    raise MemoryError


def changes(address: int, length: int, descriptor: int, offset: int) -> bool:
    return False


@pytest.mark.usefixtures("leases_here")
@pytest.mark.parametrize("copying", [fails, changes])
def test_where_no_copy_can_be_made_nothing_runs_any_more(
    product: Artifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    copying: Callable[..., bool],
) -> None:
    path = tmp_path / "product.ingot"
    shutil.copy(product.path, path)
    monkeypatch.setattr(leases, "replace_by_copy", copying)
    with Session(path) as session:
        write_into(path)
        with pytest.raises(ArtifactError, match="was overwritten while it was in use: load it"):
            session.run(as_float(512))


def test_results_outlive_session_and_file(product: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "product.ingot"
    shutil.copy(product.path, path)
    with Session(path) as session:
        result = session.run(as_float(512))["y"]
    before = result.copy()
    del session
    path.unlink()
    np.testing.assert_array_equal(result, before)
    assert mapped_files() == 0
