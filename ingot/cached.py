"""What is cached carries a digest, of its name and its content, which is checked before it is used.

The name of an entry is a digest of what it was made from, so that the digest covers both. Two
forms: an entry that only Ingot reads has the digest at its front; files that others read too, such
as a model, lie as they are, and a list in the format of ``sha256sum`` lies beside them.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from ingot.errors import IngotError
from ingot.files import replacing

_BLOCK_BYTES = 1 << 20
_HEAD = b"ingot cache 1 "
_DIGEST_LENGTH = 64


class DamagedCacheError(IngotError):
    """An entry of the cache cannot be read, or is not what was stored."""


def write_entry(path: Path, content: bytes) -> None:
    """Stores an entry, whole or not at all.

    Raises:
        IngotError: The file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(_HEAD + _entry_digest(path, content) + b"\n" + content)


def read_entry(path: Path) -> bytes | None:
    """Returns the content of an entry; None where there is none.

    Raises:
        DamagedCacheError: The file cannot be read, or is not what :func:`write_entry` stored under
            this name.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DamagedCacheError(f"{path} is no file")
        stored = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise DamagedCacheError(f"{path} cannot be read: {error.strerror or error}") from error
    begin = len(_HEAD) + _DIGEST_LENGTH + 1
    content = stored[begin:]
    if stored[:begin] != _HEAD + _entry_digest(path, content) + b"\n":
        raise DamagedCacheError(f"{path} is damaged")
    return content


def seal(files: Sequence[Path]) -> None:
    """Writes down the digests of files of one folder, beside the first of them.

    Raises:
        IngotError: A file cannot be read, or the list cannot be written.
    """
    with replacing(seal_path(files[0])) as temporary:
        temporary.write_text("".join(_seal_line(file) for file in files), encoding="utf-8")


def check_seal(files: Sequence[Path]) -> None:
    """Reads files whole and compares them with the digests that :func:`seal` wrote down.

    Raises:
        DamagedCacheError: There is no list, a file cannot be read, or one has another digest.
    """
    try:
        sealed = seal_path(files[0]).read_text(encoding="utf-8").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise DamagedCacheError(f"nothing says what {files[0]} is to hold") from error
    for file in files:
        try:
            intact = _seal_line(file) in sealed
        except OSError as error:
            reason = error.strerror or error
            raise DamagedCacheError(f"{file} cannot be read: {reason}") from error
        if not intact:
            raise DamagedCacheError(f"{file} is damaged")


def seal_path(first: Path) -> Path:
    """Where the digests of a file, and of those that belong to it, are written down."""
    return first.with_name(f"{first.name}.sha256")


def _entry_digest(path: Path, content: bytes) -> bytes:
    digest = hashlib.sha256(os.fsencode(path.name) + b"\0")
    digest.update(content)
    return digest.hexdigest().encode()


def _seal_line(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return f"{digest.hexdigest()}  {file.name}\n"
