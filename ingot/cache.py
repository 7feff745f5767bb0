"""The user's cache folder, and files that appear in it whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import platformdirs

from ingot.errors import IngotError

CACHE_VARIABLE = "INGOT_CACHE_DIR"
"""The environment variable that moves the cache."""


def cache_dir() -> Path:
    """Returns the folder of what can be had again: $INGOT_CACHE_DIR, else the user's cache."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen).absolute() if chosen else Path(platformdirs.user_cache_dir("ingot"))


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside ``path`` to write to, and renames it when the block is done.

    Whatever ends the block early (an error, Ctrl-C, a full disk) leaves ``path`` as it was.

    Raises:
        IngotError: The operating system refused to write.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name[:100]}.", dir=path.parent) as folder:
            temporary = Path(folder) / path.name
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise IngotError(
            f"cannot write {path}: {reason}; free space there, or give another place "
            f"(${CACHE_VARIABLE} moves the cache)"
        ) from error
