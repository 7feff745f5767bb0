"""An artifact is opened, checked and refused with a reason."""

from __future__ import annotations

import dataclasses
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ingot.compiler.artifact_writer import ALIGNMENT, write_artifact
from ingot.compiler.build import Artifact
from ingot.errors import ArtifactError
from ingot.runtime.artifact import ArtifactReader
from ingot.runtime.manifest import CODE_MEMBER, MANIFEST_MEMBER, WEIGHTS_MEMBER, Manifest
from ingot.runtime.session import Session
from tests.damage import flip_a_bit, member_span


def rewritten(
    artifact: Artifact, path: Path, change: Callable[[Manifest], Manifest]
) -> ArtifactReader:
    """The artifact with another manifest."""
    reader = ArtifactReader(artifact.path)
    members = {name: bytes(reader.member(name)) for name in reader.manifest.members}
    write_artifact(path, change(reader.manifest), members)
    return ArtifactReader(path)


def test_members_lie_aligned_and_weights_as_they_are_used(small_artifact: Artifact) -> None:
    data = small_artifact.path.read_bytes()
    reader = ArtifactReader(small_artifact.path)
    for name in reader.manifest.members:
        assert member_span(small_artifact.path, name)[0] % ALIGNMENT == 0
    assert data.index(bytes(reader.member(WEIGHTS_MEMBER))) % ALIGNMENT == 0
    with zipfile.ZipFile(small_artifact.path) as archive:
        assert archive.testzip() is None
        assert archive.read(CODE_MEMBER) == bytes(reader.member(CODE_MEMBER))


def zip_by_python(compression: int) -> Callable[[Path, Path], None]:
    def zip_again(path: Path, result: Path) -> None:
        with zipfile.ZipFile(path) as old, zipfile.ZipFile(result, "w", compression) as new:
            for name in old.namelist():
                new.writestr(name, old.read(name))

    return zip_again


def zip_with_notes(path: Path, result: Path) -> None:
    """Members in another order, with extra fields and times, as other archivers write them."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(result, "w") as new:
        for name in reversed(old.namelist()):
            info = zipfile.ZipInfo(name, (2020, 2, 2, 2, 2, 2))
            info.extra = struct.pack("<HHBI", 0x5455, 5, 1, 1_600_000_000)
            new.writestr(info, old.read(name))


@pytest.mark.parametrize(
    "zip_again",
    [zip_by_python(zipfile.ZIP_STORED), zip_by_python(zipfile.ZIP_DEFLATED), zip_with_notes],
    ids=["stored", "deflated", "notes"],
)
def test_an_artifact_that_was_zipped_again_gives_the_same_results(
    small_artifact: Artifact,
    image: np.ndarray,
    tmp_path: Path,
    zip_again: Callable[[Path, Path], None],
) -> None:
    path = tmp_path / "again.ingot"
    zip_again(small_artifact.path, path)
    ArtifactReader(path).verify()
    with Session(path) as session, Session(small_artifact.path) as original:
        np.testing.assert_array_equal(session.run(image)["logits"], original.run(image)["logits"])


@pytest.mark.parametrize("byte", ["before", "behind"])
def test_a_byte_too_many_is_refused(small_artifact: Artifact, tmp_path: Path, byte: str) -> None:
    data = small_artifact.path.read_bytes()
    path = tmp_path / "longer.ingot"
    path.write_bytes(b"1" + data if byte == "before" else data + b"1")
    with pytest.raises(ArtifactError, match="is not an Ingot artifact, or is damaged"):
        ArtifactReader(path)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_regular_file_is_refused_without_waiting(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "pipe.ingot")
    with pytest.raises(ArtifactError, match="it is not a regular file"):
        ArtifactReader(tmp_path / "pipe.ingot")


def test_a_manifest_that_inflates_to_gigabytes_is_refused_before_it_does(tmp_path: Path) -> None:
    path = tmp_path / "bomb.ingot"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("manifest.json", "w") as member,
    ):
        for _ in range(80):
            member.write(b" " * (1 << 20))
    with pytest.raises(ArtifactError, match="damaged"):
        ArtifactReader(path)


def test_an_artifact_is_read_from_the_file_that_was_opened(
    small_artifact: Artifact, tmp_path: Path
) -> None:
    path = tmp_path / "replaced.ingot"
    path.write_bytes(small_artifact.path.read_bytes())
    reader = ArtifactReader(path)
    path.unlink()
    path.write_bytes(b"another one")
    reader.verify()
    assert bytes(reader.member(CODE_MEMBER)[:4]) == b"\x7fELF"


def test_verify_accepts_a_whole_artifact(small_artifact: Artifact) -> None:
    reader = ArtifactReader(small_artifact.path)
    reader.verify()
    reader.check_machine()


@pytest.mark.parametrize("member", [CODE_MEMBER, WEIGHTS_MEMBER])
def test_a_flipped_bit_in_a_member_is_refused(
    small_artifact: Artifact, tmp_path: Path, member: str
) -> None:
    damaged = flip_a_bit(small_artifact.path, member, tmp_path / "damaged.ingot")
    with pytest.raises(ArtifactError, match=f"damaged: member {member} does not have the digest"):
        Session(damaged)


def test_a_flipped_bit_in_the_manifest_is_refused(small_artifact: Artifact, tmp_path: Path) -> None:
    damaged = flip_a_bit(small_artifact.path, MANIFEST_MEMBER, tmp_path / "damaged.ingot")
    with pytest.raises(ArtifactError, match="is not an Ingot artifact, or is damaged"):
        ArtifactReader(damaged)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_refused(
    small_artifact: Artifact, tmp_path: Path, share: float
) -> None:
    data = small_artifact.path.read_bytes()
    cut = tmp_path / "cut.ingot"
    cut.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ArtifactError, match="damaged or cut short"):
        ArtifactReader(cut)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="there is no artifact at"):
        ArtifactReader(tmp_path / "none.ingot")
    with pytest.raises(ArtifactError, match="cannot read"):
        ArtifactReader(tmp_path)


def test_another_format_version_is_refused(small_artifact: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="format version 99, this Ingot reads version 6"):
        rewritten(
            small_artifact,
            tmp_path / "new.ingot",
            lambda manifest: dataclasses.replace(manifest, format_version=99),
        )


def test_a_machine_that_lacks_a_feature_is_refused(
    small_artifact: Artifact, tmp_path: Path
) -> None:
    def for_another_cpu(manifest: Manifest) -> Manifest:
        target = dataclasses.replace(manifest.target, features=("quantum9", "avx2"))
        return dataclasses.replace(manifest, target=target)

    rewritten(small_artifact, tmp_path / "other.ingot", for_another_cpu)
    with pytest.raises(ArtifactError, match="this CPU lacks quantum9: compile it"):
        Session(tmp_path / "other.ingot")


def test_another_architecture_is_refused(small_artifact: Artifact, tmp_path: Path) -> None:
    def for_another_architecture(manifest: Manifest) -> Manifest:
        target = dataclasses.replace(manifest.target, architecture="riscv64")
        return dataclasses.replace(manifest, target=target)

    reader = rewritten(small_artifact, tmp_path / "other.ingot", for_another_architecture)
    with pytest.raises(ArtifactError, match="compiled for riscv64, this machine is"):
        reader.check_machine()


def test_a_member_that_the_manifest_does_not_list_is_refused(
    small_artifact: Artifact, tmp_path: Path
) -> None:
    path = tmp_path / "more.ingot"
    path.write_bytes(small_artifact.path.read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("extra.bin", b"1")
    with pytest.raises(ArtifactError, match=r"extra\.bin is not listed in the manifest"):
        ArtifactReader(path).verify()
