"""An artifact is written whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ingot.compiler.artifact_writer import write_artifact
from ingot.compiler.build import Artifact
from ingot.errors import ArtifactError
from ingot.files import atomic_file
from ingot.runtime.artifact import ArtifactReader


def rewrite(artifact: Artifact, path: Path) -> None:
    reader = ArtifactReader(artifact.path)
    members = {name: bytes(reader.member(name)) for name in reader.manifest.members}
    write_artifact(path, reader.manifest, members)


def test_the_same_parts_give_the_same_bytes(small_artifact: Artifact, tmp_path: Path) -> None:
    rewrite(small_artifact, tmp_path / "a.ingot")
    assert (tmp_path / "a.ingot").read_bytes() == small_artifact.path.read_bytes()


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_write_leaves_what_was_there(
    small_artifact: Artifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
) -> None:
    path = tmp_path / "model.ingot"
    path.write_bytes(b"before")

    def interrupt(_: int) -> None:
        raise error

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(error):
        rewrite(small_artifact, path)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["model.ingot"]


def test_no_space_left_is_one_line_and_leaves_nothing(
    small_artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ArtifactError, match=r"cannot write .*: No space left on device"):
        rewrite(small_artifact, tmp_path / "model.ingot")
    assert os.listdir(tmp_path) == []


def test_a_real_limit_on_file_size_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    # The kernel refuses the write here, as it does on a full disk.
    program = """
import resource, signal, sys
from pathlib import Path
from ingot.files import atomic_file
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    with atomic_file(Path(sys.argv[1])) as file:
        file.write(bytes(100_000))
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "big")], capture_output=True, text=True
    )
    assert done.stdout.startswith("ArtifactError cannot write")
    assert "File too large" in done.stdout
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(ArtifactError, match="cannot write .*No such file or directory"),
        atomic_file(tmp_path / "none" / "model.ingot"),
    ):
        pass


def test_others_may_read_what_was_written(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "file") as file:
        file.write(b"1")
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~mask
