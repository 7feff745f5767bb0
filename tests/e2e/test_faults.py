"""What breaks during a build leaves the old artifact or the new one, and nothing half-written."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ingot.cached import read_entry
from ingot.cli.main import main
from ingot.compiler import build
from ingot.files import CACHE_VARIABLE
from ingot.runtime.artifact import ArtifactReader
from ingot.runtime.session import Session
from tests.e2e.faults import (
    Ended,
    can_mount,
    command,
    in_child,
    jumping_clock,
    mounted,
    no_temporary_folder,
    raised_at,
)

_FAST = ("lower", "synced")
STAGES = [
    pytest.param(stage, marks=() if stage in _FAST else pytest.mark.slow)
    for stage in (*build._STAGES, "synced")
]
_UNFINISHED = ".ingot-unfinished-"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and beside it a cache, both of the test's own."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture(scope="module")
def mounts() -> None:
    if not can_mount():
        pytest.skip("a process may not have file systems of its own here")


def expect_whole(path: Path, image: np.ndarray) -> None:
    ArtifactReader(path).verify()
    with Session(path, threads=1) as session:
        assert np.isfinite(session.run(image)["logits"]).all()


def expect_one_line(ended: Ended, *parts: str) -> None:
    assert ended.code == 1, ended.said
    assert "Traceback" not in ended.said and "unexpected" not in ended.said, ended.said
    assert ended.error.startswith("ingot: error: ")
    for part in parts:
        assert part in ended.error


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill", "ctrl-c"])
def test_a_build_that_is_ended(
    folder: Path, small_model: Path, image: np.ndarray, stage: str, number: signal.Signals
) -> None:
    path = folder / "model.ingot"
    path.write_bytes(b"an older one")
    ended = command("compile", small_model, "-o", path, fault=raised_at(stage, number))
    if number is signal.SIGKILL:
        assert ended.code == -signal.SIGKILL
    else:
        assert ended.code == 130
        assert ended.error == "ingot: error: interrupted; nothing was left half-written"
    assert path.read_bytes() == b"an older one"
    left = [one for one in folder.iterdir() if one != path]
    assert all(one.name.startswith(_UNFINISHED) for one in left)
    assert number is signal.SIGKILL or not left
    if not left:
        return
    for one in left:
        os.utime(one, (0, 0))  # as if it had been some minutes ago
    assert command("compile", small_model, "-o", path).code == 0
    assert list(folder.iterdir()) == [path]
    expect_whole(path, image)


@pytest.mark.slow
def test_two_builds_at_once(folder: Path, small_model: Path, image: np.ndarray) -> None:
    """Of the same model, into the same file, with the same empty cache."""
    path = folder / "model.ingot"

    def both() -> int:
        children = []
        for _ in range(2):
            child = os.fork()
            if child == 0:
                os._exit(command("compile", small_model, "-o", path).code)
            children.append(child)
        return sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)

    assert in_child(both).code == 0
    assert list(folder.iterdir()) == [path]
    expect_whole(path, image)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:50])


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def flipped(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 16
    file.write_bytes(data)


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def a_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize(
    "damage",
    [
        flipped,
        *(pytest.param(each, marks=pytest.mark.slow) for each in (cut, emptied, a_folder, a_pipe)),
    ],
)
def test_a_damaged_entry_of_the_cache_is_made_again(
    folder: Path, small_model: Path, image: np.ndarray, damage: Callable[[Path], None]
) -> None:
    np.savez(folder / "samples.npz", image=np.repeat(image, 4, axis=0))
    path = folder / "model.ingot"
    arguments = ["compile", small_model, "-o", path, "--quantize", "int8"]
    arguments += ["--calibration", folder / "samples.npz", "--shape", "image=2x3x16x16"]
    assert command(*arguments).code == 0
    entries = [file for file in (folder.parent / "cache").rglob("*") if file.is_file()]
    kinds = {file.relative_to(folder.parent / "cache").parts[0] for file in entries}
    assert kinds >= {"kernels", "calibration"}
    for file in entries:
        damage(file)
    ended = command(*arguments)
    assert ended.code == 0, ended.said
    expect_whole(path, image)
    if damage not in (a_folder, a_pipe):  # what is no file is never replaced
        for file in entries:
            assert read_entry(file)


def test_no_folder_for_temporary_files(folder: Path, small_model: Path) -> None:
    path = folder / "model.ingot"
    ended = command("compile", small_model, "-o", path, fault=no_temporary_folder)
    expect_one_line(ended, "TMPDIR")
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_a_clock_that_jumps(folder: Path, small_model: Path, image: np.ndarray) -> None:
    path = folder / "model.ingot"
    ended = command("compile", small_model, "-o", path, fault=jumping_clock)
    assert ended.code == 0, ended.said
    assert list(folder.iterdir()) == [path]
    expect_whole(path, image)


@pytest.mark.usefixtures("mounts")
@pytest.mark.parametrize("place", ["output", "cache", "temporary"])
@pytest.mark.parametrize("fault", ["full", pytest.param("read-only", marks=pytest.mark.slow)])
def test_a_place_that_takes_nothing(
    folder: Path, small_model: Path, monkeypatch: pytest.MonkeyPatch, place: str, fault: str
) -> None:
    """Without a cache a build goes on; without room for anything else it ends in one line."""
    where = folder.parent / place
    where.mkdir()
    output = (where if place == "output" else folder) / "model.ingot"
    broken = mounted(where, "size=16k", read_only=fault == "read-only")
    if place == "cache":
        monkeypatch.setenv(CACHE_VARIABLE, str(where))
    elif place == "temporary":
        monkeypatch.setenv("TMPDIR", str(where))
        monkeypatch.setattr("tempfile.tempdir", str(where))

    def build_and_list() -> int:
        """What is in the mounted folder is seen from within alone."""
        code = main(["compile", str(small_model), "-o", str(output)])
        left = [one for one in output.parent.iterdir() if one != output]
        assert left == []
        return code

    ended = in_child(build_and_list, broken)
    if place == "cache":
        assert ended.code == 0, ended.said
        assert output.exists()
        return
    # Where nothing can be written is found before the work: wrong usage.
    found_before = place == "output" and fault == "read-only"
    assert ended.code == (2 if found_before else 1), ended.said
    assert "Traceback" not in ended.said and "unexpected" not in ended.said, ended.said
    assert ended.error.startswith("ingot: error: ")
    assert "space" in ended.error or "Read-only" in ended.error
    assert not output.exists()
