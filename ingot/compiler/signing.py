"""Signing artifacts, and making the keys for it.

Signatures are made by the ``cryptography`` package (the extra ``sign``), which a machine that only
checks them does not need: see :mod:`ingot.runtime.trust`.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ingot.compiler.artifact_writer import write_members
from ingot.errors import UsageError, first_line
from ingot.files import atomic_file, require_writable
from ingot.runtime.artifact import ArtifactReader
from ingot.runtime.manifest import MANIFEST_MEMBER
from ingot.runtime.trust import (
    SIGNATURES_MEMBER,
    Signature,
    Signatures,
    key_name,
    signed_message,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PUBLIC_SUFFIX = ".pub"
_LARGEST_KEY_FILE = 64 << 10
_ONLY_ITS_OWNER = 0o600


def make_key(path: Path) -> str:
    """Makes a key pair: the private key at ``path``, the public one beside it as ``PATH.pub``.

    The private key is a file that only its owner may read.

    Returns:
        The key's name.

    Raises:
        UsageError: There is a file already, or ``cryptography`` is not installed.
        ArtifactError: A file cannot be written.
    """
    _require_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public_path = path.with_name(path.name + PUBLIC_SUFFIX)
    for place in (path, public_path):
        if os.path.lexists(place):
            raise UsageError(f"{place} is there already, and no key is replaced: give another name")
        require_writable(place)
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    for place, text, mode in (path, private, _ONLY_ITS_OWNER), (public_path, public, 0o666):
        with atomic_file(place, mode) as file:
            file.write(text)
    return key_name(key.public_key().public_bytes_raw())


def sign_artifact(artifact: Path, key: Path, output: Path | None = None) -> str:
    """Signs an artifact, all of whose digests are checked before.

    Signatures of other keys stay; one of the same key is replaced.

    Args:
        artifact: An ``*.ingot`` file.
        key: The private key, a PEM file.
        output: Where the signed artifact goes; the artifact itself is replaced if not given.

    Returns:
        The key's name.

    Raises:
        ArtifactError: The artifact is missing or damaged, or cannot be written.
        UsageError: The key cannot be read, or ``cryptography`` is not installed.
    """
    private = _read_private_key(key)
    reader = ArtifactReader(artifact)
    reader.verify()
    name = key_name(private.public_key().public_bytes_raw())
    made = private.sign(signed_message(reader.manifest_text))
    others = () if reader.signatures is None else Signatures.from_json(reader.signatures).signatures
    signatures = Signatures.of(
        *(one for one in others if one.key != name),
        Signature(name, base64.b64encode(made).decode()),
    )
    text = json.dumps(dataclasses.asdict(signatures), indent=1) + "\n"
    members = {name: reader.member(name) for name in reader.manifest.members}
    write_members(
        output or artifact,
        {
            MANIFEST_MEMBER: reader.manifest_text,
            SIGNATURES_MEMBER: text.encode(),
            **members,
        },
    )
    return name


def _read_private_key(path: Path) -> Ed25519PrivateKey:
    _require_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        if not path.is_file():
            raise ValueError("there is no such file")
        with path.open("rb") as file:
            text = file.read(_LARGEST_KEY_FILE)
        key = load_pem_private_key(text, password=None)
    except TypeError as error:
        raise UsageError(
            f"the key {path} has a password: remove it (`openssl pkey -in {path.name} -out …`)"
        ) from error
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        reason = error.strerror if isinstance(error, OSError) else first_line(error)
        raise UsageError(
            f"the key {path} cannot be read: {reason}; `ingot keygen` makes one"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise UsageError(f"the key {path} is no Ed25519 key: `ingot keygen` makes one")
    return key


def _require_cryptography() -> None:
    try:
        import cryptography  # noqa: F401  # asked for before anything is done
    except ModuleNotFoundError as error:
        raise UsageError(
            "signing needs the package cryptography: install it with `pip install 'ingot[sign]'`"
        ) from error
