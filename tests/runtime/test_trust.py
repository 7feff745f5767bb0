"""What no trusted key has signed, or was changed since, is refused before its code is loaded."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import ingot
from ingot.compiler.build import Artifact
from ingot.compiler.signing import make_key, sign_artifact
from ingot.errors import ArtifactError, UntrustedError, UsageError
from ingot.runtime import trust as trust_module
from ingot.runtime.artifact import ArtifactReader
from ingot.runtime.manifest import CODE_MEMBER, MANIFEST_MEMBER, WEIGHTS_MEMBER
from ingot.runtime.session import Session
from ingot.runtime.trust import SIGNATURES_MEMBER, trusted_keys
from tests.damage import member_span
from tests.runtime.marking_code import with_marking_code


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two key pairs: ``own`` and ``foreign``."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("own", "foreign"):
        make_key(folder / name)
    return folder


@pytest.fixture(scope="module")
def marking(small_artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact whose code makes a file ``mark`` beside it when it is loaded; not signed."""
    folder = tmp_path_factory.mktemp("marking")
    return with_marking_code(small_artifact, folder / "marking.ingot", folder / "mark")


@pytest.fixture
def signed(marking: Path, keys: Path, tmp_path: Path) -> Path:
    """The marking artifact, signed by ``own``."""
    path = tmp_path / "signed.ingot"
    sign_artifact(marking, keys / "own", path)
    return path


@pytest.fixture
def mark(marking: Path) -> Path:
    """Where the mark is when the code was loaded; not yet there."""
    path = marking.with_name("mark")
    path.unlink(missing_ok=True)
    return path


def members_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def refused(path: Path, keys: Path, mark: Path) -> str:
    """What is said of an artifact that is not loaded."""
    with pytest.raises(ArtifactError) as raised:
        Session(path, trust=keys / "own.pub")
    assert not mark.exists(), "its code was loaded"
    assert len(str(raised.value).splitlines()) == 1
    return str(raised.value)


def test_code_leaves_its_mark_where_it_is_trusted(signed: Path, keys: Path, mark: Path) -> None:
    """Else the tests below would prove nothing."""
    with pytest.raises(ArtifactError, match="does not say what it was compiled for"):
        Session(signed, trust=keys / "own.pub")
    assert mark.exists()


def test_an_artifact_that_is_not_signed(marking: Path, keys: Path, mark: Path) -> None:
    assert "is not signed" in refused(marking, keys, mark)


def test_an_artifact_of_a_foreign_key(marking: Path, keys: Path, mark: Path, tmp_path) -> None:
    sign_artifact(marking, keys / "foreign", tmp_path / "foreign.ingot")
    assert "no such key is in" in refused(tmp_path / "foreign.ingot", keys, mark)


@pytest.mark.parametrize(
    "member", [MANIFEST_MEMBER, WEIGHTS_MEMBER, CODE_MEMBER, SIGNATURES_MEMBER]
)
def test_a_changed_byte_anywhere(
    signed: Path, keys: Path, mark: Path, tmp_path: Path, member: str
) -> None:
    """Each checksum of the archive is right, so that digests and signature alone tell."""
    for part in (3, 5, 8):
        members = members_of(signed)
        data = bytearray(members[member])
        data[len(data) * part // 9] ^= 1
        changed = zipped(tmp_path / "changed.ingot", [*{**members, member: bytes(data)}.items()])
        refused(changed, keys, mark)


def test_a_changed_byte_in_the_file(signed: Path, keys: Path, mark: Path, tmp_path: Path) -> None:
    whole = signed.read_bytes()
    changed = tmp_path / "changed.ingot"
    for member in (MANIFEST_MEMBER, WEIGHTS_MEMBER, CODE_MEMBER, SIGNATURES_MEMBER):
        begin, length = member_span(signed, member)
        data = bytearray(whole)
        data[begin + length // 2] ^= 16
        changed.write_bytes(data)
        refused(changed, keys, mark)


def test_the_signature_of_another_artifact(
    signed: Path, small_artifact: Artifact, keys: Path, mark: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.ingot"
    sign_artifact(small_artifact.path, keys / "own", other)
    theirs = members_of(other)[SIGNATURES_MEMBER]
    path = zipped(
        tmp_path / "moved.ingot", [*{**members_of(signed), SIGNATURES_MEMBER: theirs}.items()]
    )
    assert "the signature is of another artifact" in refused(path, keys, mark)


def test_the_manifest_of_another_artifact_with_its_signature(
    marking: Path, small_artifact: Artifact, keys: Path, mark: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.ingot"
    sign_artifact(small_artifact.path, keys / "own", other)
    theirs = members_of(other)
    swapped = {name: theirs[name] for name in (MANIFEST_MEMBER, SIGNATURES_MEMBER)}
    path = zipped(tmp_path / "swapped.ingot", [*{**members_of(marking), **swapped}.items()])
    assert "does not have the digest" in refused(path, keys, mark)


@pytest.mark.parametrize("manifest", ["spaces", "other order", "a key twice"])
def test_a_manifest_that_says_the_same_in_other_bytes(
    signed: Path, keys: Path, mark: Path, tmp_path: Path, manifest: str
) -> None:
    members = members_of(signed)
    text = members[MANIFEST_MEMBER]
    members[MANIFEST_MEMBER] = {
        "spaces": text + b" ",
        "other order": json.dumps(json.loads(text), sort_keys=True).encode(),
        "a key twice": text.replace(b"{", b'{"name": "x",', 1),
    }[manifest]
    path = zipped(tmp_path / "same.ingot", [*members.items()])
    assert "it was changed since" in refused(path, keys, mark)


@pytest.mark.parametrize("member", [MANIFEST_MEMBER, CODE_MEMBER, SIGNATURES_MEMBER])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_is_there_twice(
    signed: Path, keys: Path, mark: Path, tmp_path: Path, member: str
) -> None:
    members = members_of(signed)
    for order in ([*members.items(), (member, b"x")], [(member, b"x"), *members.items()]):
        path = zipped(tmp_path / "twice.ingot", order)
        assert "is there twice" in refused(path, keys, mark)


def test_a_member_that_the_manifest_does_not_list(signed: Path, keys, mark, tmp_path) -> None:
    path = zipped(tmp_path / "more.ingot", [*members_of(signed).items(), ("more.so", b"x")])
    assert "not listed in the manifest" in refused(path, keys, mark)


def trailing(data: bytes, other: bytes) -> bytes:
    return data + b"\0"


def commented(data: bytes, other: bytes) -> bytes:
    return data[:-2] + b"\5\0third"


def leading(data: bytes, other: bytes) -> bytes:
    return b"\0" + data


def followed(data: bytes, other: bytes) -> bytes:
    """A second archive, with a directory of its own, behind the first."""
    return data + other


def preceded(data: bytes, other: bytes) -> bytes:
    return other + data


@pytest.mark.parametrize("change", [trailing, commented, leading, followed, preceded])
def test_bytes_around_the_archive(
    signed: Path, keys: Path, mark: Path, tmp_path: Path, change: Callable[[bytes, bytes], bytes]
) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(MANIFEST_MEMBER, b"{}")
    path = tmp_path / "around.ingot"
    path.write_bytes(change(signed.read_bytes(), buffer.getvalue()))
    assert "is not an Ingot artifact, or is damaged" in refused(path, keys, mark)


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b'{"version": 2, "signatures": []}', b'{"version": 1, "signatures": [{}]}',
     b"[" * 60_000, b" " * 70_000],
    ids=["empty", "list", "version", "nothing", "deep", "long"],
)  # fmt: skip
def test_signatures_that_are_none(
    signed: Path, keys: Path, mark: Path, tmp_path: Path, text: bytes
) -> None:
    members = {**members_of(signed), SIGNATURES_MEMBER: text}
    refused(zipped(tmp_path / "none.ingot", [*members.items()]), keys, mark)


def test_one_good_signature_among_others_is_enough(
    small_artifact: Artifact, keys: Path, tmp_path: Path, image: np.ndarray
) -> None:
    path = tmp_path / "both.ingot"
    sign_artifact(small_artifact.path, keys / "foreign", path)
    sign_artifact(path, keys / "own")
    sign_artifact(path, keys / "own")
    found = json.loads(members_of(path)[SIGNATURES_MEMBER])["signatures"]
    assert len(found) == 2
    with ingot.load(path, trust=keys / "own.pub") as session, small_artifact.session() as plain:
        np.testing.assert_array_equal(session.run(image)["logits"], plain.run(image)["logits"])
    with ingot.load(path, trust=keys):
        pass
    with ingot.load(path):
        pass


def test_signing_keeps_every_other_byte_that_counts(
    small_artifact: Artifact, keys: Path, tmp_path: Path
) -> None:
    path = tmp_path / "signed.ingot"
    name = sign_artifact(small_artifact.path, keys / "own", path)
    before, after = members_of(small_artifact.path), members_of(path)
    signatures = json.loads(after.pop(SIGNATURES_MEMBER))
    assert after == before
    assert [one["key"] for one in signatures["signatures"]] == [name]
    assert len(base64.b64decode(signatures["signatures"][0]["signature"])) == 64
    for member in before:
        assert member_span(path, member)[0] % 64 == 0
    reader = ArtifactReader(path, trusted_keys(keys / "own.pub"))
    reader.verify()
    assert reader.signer == name


def test_no_damaged_artifact_is_signed(small_artifact: Artifact, keys: Path, tmp_path) -> None:
    members = members_of(small_artifact.path)
    members[WEIGHTS_MEMBER] = members[WEIGHTS_MEMBER][:-1] + b"\7"
    path = zipped(tmp_path / "damaged.ingot", [*members.items()])
    before = path.read_bytes()
    with pytest.raises(ArtifactError, match="does not have the digest"):
        sign_artifact(path, keys / "own")
    assert path.read_bytes() == before


def test_a_policy_holds_where_nothing_is_said(
    marking: Path, signed: Path, keys: Path, mark: Path, monkeypatch, tmp_path
) -> None:
    monkeypatch.setenv("INGOT_TRUST", str(keys / "own.pub"))
    with pytest.raises(UntrustedError, match=r"own\.pub \(\$INGOT_TRUST\) has signed"):
        ingot.load(marking)
    assert not mark.exists()
    with pytest.raises(ArtifactError, match="does not say"):
        ingot.load(signed)
    mark.unlink()

    monkeypatch.setenv("INGOT_TRUST", "")
    policy = tmp_path / "trust.pem"
    shutil.copy(keys / "own.pub", policy)
    monkeypatch.setattr(trust_module, "MACHINE_POLICY", policy)
    with pytest.raises(UntrustedError, match=r"trust\.pem has signed"):
        ingot.load(marking)
    assert not mark.exists()
    with pytest.raises(ArtifactError, match="does not say"):
        ingot.load(marking, trust=False)
    assert mark.exists()


BAD_KEYS = {
    "private": lambda keys: (keys / "own").read_bytes(),
    "junk": lambda keys: bytes(range(256)),
    "nothing": lambda keys: b"",
    "cut": lambda keys: (keys / "own.pub").read_bytes()[:60],
    "half": lambda keys: (keys / "own.pub").read_bytes() + (keys / "foreign.pub").read_bytes()[:60],
    "other kind": lambda keys: (keys / "own.pub").read_bytes().replace(b"MCowBQ", b"MCowBR"),
    "weak": lambda keys: (
        b"-----BEGIN PUBLIC KEY-----\n"
        + base64.b64encode(bytes.fromhex("302a300506032b6570032100") + bytes(32))
        + b"\n-----END PUBLIC KEY-----\n"
    ),
    "large": lambda keys: b" " * (1 << 20) + (keys / "own.pub").read_bytes(),
}


@pytest.mark.parametrize("kind", [*BAD_KEYS, "missing", "empty folder", "fifo"])
def test_keys_that_cannot_be_read_load_nothing(
    signed: Path, keys: Path, mark: Path, tmp_path: Path, monkeypatch, kind: str
) -> None:
    path = tmp_path / "key.pem"
    if kind in BAD_KEYS:
        path.write_bytes(BAD_KEYS[kind](keys))
    elif kind == "empty folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    for given in (path, None):
        monkeypatch.setenv("INGOT_TRUST", str(path))
        with pytest.raises(UsageError, match="trusted keys cannot be read") as raised:
            Session(signed, trust=given)
        assert len(str(raised.value).splitlines()) == 1
    assert not mark.exists()


def test_a_digest_of_the_manifest_in_itself_is_refused(small_artifact: Artifact) -> None:
    raw = dataclasses.asdict(small_artifact.manifest)
    raw["members"][SIGNATURES_MEMBER] = {"size": 1, "sha256": "0" * 64}
    with pytest.raises(ArtifactError, match="can have no digest"):
        type(small_artifact.manifest).from_json(json.dumps(raw))
