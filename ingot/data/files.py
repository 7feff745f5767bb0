"""The files of a data set: found once each, and read only where they are regular files.

A pipe or a device with the name of an image would be read without end, and a link to a folder above
would be followed again and again.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from ingot.errors import DataError

_CHUNK_BYTES = 1 << 20


def visible(folder: Path) -> list[Path]:
    """A folder's entries in a fixed order, without hidden ones.

    Raises:
        DataError: The folder cannot be read.
    """
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise unreadable(folder, error) from error


def files_in(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """A folder's files of certain suffixes (in lower case), in a fixed order.

    Raises:
        DataError: The folder or one of its entries cannot be read, or is neither a regular file
            nor a folder.
    """
    named = [path for path in visible(folder) if path.suffix.lower() in suffixes]
    return [path for path in named if is_regular(path)]


def files_below(folder: Path, suffixes: Collection[str]) -> Iterator[Path]:
    """The files of certain suffixes below a folder, however deep; each folder is entered once.

    Raises:
        DataError: See :func:`files_in`.
    """
    entered: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        current = waiting.pop()
        facts = _stat(current)
        if (facts.st_dev, facts.st_ino) in entered:
            continue
        entered.add((facts.st_dev, facts.st_ino))
        yield from files_in(current, suffixes)
        waiting += [entry for entry in reversed(visible(current)) if entry.is_dir()]


def is_regular(path: Path) -> bool:
    """Whether a path is a regular file, and not a folder.

    Raises:
        DataError: It is neither, or cannot be read.
    """
    mode = _stat(path).st_mode
    if stat.S_ISREG(mode):
        return True
    if stat.S_ISDIR(mode):
        return False
    raise DataError(f"{path} is no regular file but a pipe, socket or device; remove it")


def file_content(name: str, path: Path) -> Iterator[bytes]:
    """Yields a file's name and content in pieces, framed so that no two files run together.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        yield f"{name}\0{path.stat().st_size}\0".encode()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> DataError:
    """The error of a file or folder that the operating system does not let be read."""
    return DataError(f"{path} cannot be read: {error.strerror or error}; check the path")


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
