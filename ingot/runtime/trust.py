"""Whose artifacts are loaded: public keys, the policy of a machine, and signatures in artifacts.

A signed artifact has a member ``signatures.json``. What is signed (Ed25519) is the bytes of its
manifest, behind a line that says what they are; the manifest holds the digest of each other member.
Keys are PEM files, as ``openssl genpkey -algorithm ed25519`` and ``ingot keygen`` write them.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from ingot.errors import UntrustedError, UsageError
from ingot.runtime.ed25519 import is_key, is_signed
from ingot.runtime.typed_json import decode, parse_json

TRUST_VARIABLE = "INGOT_TRUST"
"""The environment variable that names the keys whose artifacts are loaded."""
MACHINE_POLICY = Path("/etc/ingot/trust.pem")
"""The same for all programs of a machine: a file or a folder, where it is there."""
SIGNATURES_MEMBER = "signatures.json"
LARGEST_SIGNATURES = 64 << 10

Trust = str | os.PathLike[str] | Literal[False] | None
"""Public keys, a file or a folder; None for the machine's policy; False to trust any artifact."""

_VERSION = 1
_CONTEXT = b"Ingot artifact manifest, signed, version 1\n"
_LARGEST_KEY_FILE = 1 << 20
_MOST_KEYS = 1024
_KEY_SUFFIXES = (".pem", ".pub")
_SHOWN_DIGITS = 16
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----([A-Za-z0-9+/=\s]*)-----END \1-----")
# The DER encoding of an Ed25519 SubjectPublicKeyInfo up to the key itself (RFC 8410, section 4).
_DER_PREFIX = bytes.fromhex("302a300506032b6570032100")


@dataclasses.dataclass(frozen=True)
class Signature:
    """One signature of a manifest.

    Attributes:
        key: The public key's name: see :func:`key_name`.
        signature: 64 bytes, in base64.
    """

    key: str
    signature: str


@dataclasses.dataclass(frozen=True)
class Signatures:
    """The contents of ``signatures.json``.

    Attributes:
        version: Version of this format.
        signatures: One for each key that has signed.
    """

    version: int
    signatures: tuple[Signature, ...]

    @classmethod
    def of(cls, *signatures: Signature) -> Signatures:
        """Returns signatures as this version writes them."""
        return cls(_VERSION, signatures)

    @classmethod
    def from_json(cls, text: bytes) -> Signatures:
        """Parses the member.

        Raises:
            UntrustedError: It is damaged, or of a version that this Ingot does not know.
        """
        try:
            found: Signatures = decode(cls, parse_json(text, largest=LARGEST_SIGNATURES))
            if found.version != _VERSION:
                raise ValueError(f"this Ingot does not know its version {found.version}")
        except ValueError as error:
            raise UntrustedError(f"its {SIGNATURES_MEMBER} is damaged: {error}") from error
        return found


class TrustedKeys:
    """Public keys whose owners' artifacts are loaded.

    Args:
        keys: The keys, of 32 bytes each, by name.
        source: Where they come from, for messages.
    """

    def __init__(self, keys: Mapping[str, bytes], source: str) -> None:
        self._keys = keys
        self._source = source

    def check(self, manifest: bytes, signatures: bytes | None) -> str:
        """Checks that a trusted key has signed a manifest; returns the key's name.

        Args:
            manifest: The bytes of the artifact's manifest.
            signatures: Its member ``signatures.json``; None if it has none.

        Raises:
            UntrustedError: No trusted key has signed it, or it was changed afterwards.
        """
        if signatures is None:
            raise UntrustedError(
                f"it is not signed, and only what a key of {self._source} has signed is loaded: "
                "sign it with `ingot sign`"
            )
        found = Signatures.from_json(signatures).signatures
        known = [one for one in found if one.key in self._keys]
        if not known:
            names = ", ".join(_shown(one.key) for one in found[:4]) or "nobody"
            raise UntrustedError(f"it is signed by {names}, and no such key is in {self._source}")
        for one in known:
            if is_signed(self._keys[one.key], signed_message(manifest), _decoded(one)):
                return one.key
        raise UntrustedError(
            f"it is not what {_shown(known[0].key)} has signed: it was changed since, or the "
            "signature is of another artifact"
        )


def trusted_keys(trust: Trust) -> TrustedKeys | None:
    """Returns the keys whose artifacts are loaded; None if any artifact is.

    Args:
        trust: A file or a folder of public keys. None stands for the policy of this machine:
            $INGOT_TRUST, else ``/etc/ingot/trust.pem`` if there is one, else none.

    Raises:
        UsageError: The keys cannot be read.
    """
    if trust is False:
        return None
    if trust is not None:
        return _read_keys(Path(trust), str(trust))
    if chosen := os.environ.get(TRUST_VARIABLE):
        return _read_keys(Path(chosen), f"{chosen} (${TRUST_VARIABLE})")
    if os.path.lexists(MACHINE_POLICY):
        return _read_keys(MACHINE_POLICY, str(MACHINE_POLICY))
    return None


def signed_message(manifest: bytes) -> bytes:
    """Returns what is signed of an artifact, so that a signature of it is one of nothing else."""
    return _CONTEXT + manifest


def key_name(public_key: bytes) -> str:
    """Returns the name of a public key: the SHA-256 digest of its 32 bytes, in hex."""
    return hashlib.sha256(public_key).hexdigest()


def _read_keys(path: Path, source: str) -> TrustedKeys:
    try:
        files = [path]
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.suffix in _KEY_SUFFIXES)
        keys = {key_name(key): key for file in files for key in _keys_of(file)}
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise UsageError(f"trusted keys cannot be read from {source}: {reason}") from error
    if not keys:
        raise UsageError(
            f"trusted keys cannot be read from {source}: there is no public key in it; "
            "`ingot keygen` makes one"
        )
    return TrustedKeys(keys, source)


def _keys_of(file: Path) -> Iterator[bytes]:
    """Yields the keys of a PEM file.

    Raises:
        ValueError: It holds something else, or is none.
        OSError: It cannot be read.
    """
    # A FIFO would wait for one who writes to it.
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as stream:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise ValueError(f"{file.name} is no regular file")
        text = stream.read(_LARGEST_KEY_FILE + 1)
    blocks = list(_PEM.finditer(text[: _LARGEST_KEY_FILE + 1]))
    if len(text) > _LARGEST_KEY_FILE or len(blocks) > _MOST_KEYS:
        raise ValueError(f"{file.name} is larger than a file of keys is")
    if not blocks or len(blocks) != text.count(b"-----BEGIN "):
        raise ValueError(f"{file.name} is no PEM file of public keys, or is damaged")
    for block in blocks:
        label = block[1].decode()
        if "PRIVATE" in label:
            raise ValueError(
                f"{file.name} holds a private key, which belongs to its signer alone: give the "
                "public one"
            )
        try:
            encoded = base64.b64decode(b"".join(block[2].split()), validate=True)
        except binascii.Error:
            encoded = b""
        key = encoded[len(_DER_PREFIX) :]
        if label != "PUBLIC KEY" or encoded[: len(_DER_PREFIX)] != _DER_PREFIX or not is_key(key):
            raise ValueError(f"{file.name} holds something else than Ed25519 public keys")
        yield key


def _decoded(signature: Signature) -> bytes:
    """Returns the bytes of a signature; such as no key has made if it is damaged."""
    try:
        return base64.b64decode(signature.signature, validate=True)
    except ValueError:
        return b""


def _shown(key: str) -> str:
    return f"key {key[:_SHOWN_DIGITS]!a}".replace("'", "")
