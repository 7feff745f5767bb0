"""An artifact is opened, checked and refused with a reason."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Callable
from pathlib import Path

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
    with pytest.raises(ArtifactError, match="format version 99, this Ingot reads version 2"):
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
