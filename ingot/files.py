"""The user's cache folder, and files that appear whole or not at all.

Every file that Ingot writes goes through here: it is written beside its place under a hidden name,
synced, and renamed. Only regular files are replaced. What a killed process left under such a name
is removed by the next one that writes to the folder.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, BinaryIO, Literal

from ingot.errors import ArtifactError, IngotError, UsageError

CACHE_VARIABLE = "INGOT_CACHE_DIR"
"""The environment variable that moves the cache."""

# What no folder of data is read for: Ingot writes it, and may do so beside the data.
_NEVER_DATA = frozenset({".ingot", ".onnx", ".html", ".md", ".json"})
_LONGEST_SHOWN = 200
# What is being written, beside its place. Short, so that any name that a file can have will do.
_UNFINISHED = ".ingot-unfinished-"
# A lock says that the writer lives. It has none yet in the moment after it made the file.
_LEFT_BEHIND_SECONDS = 60.0


def cache_dir() -> Path:
    """Returns the folder of what can be had again: $INGOT_CACHE_DIR, else the user's cache.

    A user without a home has one that goes with this process.
    """
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).absolute()
    return user_cache("ingot") or Path(_cache_of_this_process().name)


def user_cache(program: str) -> Path | None:
    """The folder where a program keeps what a user's work can have again.

    None without a home, as that of a user who is in no list of users.
    """
    return _user_folder("cache", program)


def user_data(program: str) -> Path | None:
    """The folder where a program keeps what cannot be had again, such as what was measured.

    None without a home.
    """
    return _user_folder("data", program)


def _user_folder(kind: Literal["cache", "data"], program: str) -> Path | None:
    # Not in the base install, which writes files too but has no folders of the user's.
    import platformdirs

    find = platformdirs.user_cache_dir if kind == "cache" else platformdirs.user_data_dir
    try:
        folder = Path(find(program))
    except RuntimeError:
        return None
    return folder if folder.is_absolute() else None


@functools.cache
def _cache_of_this_process() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="ingot-cache-")


def can_write_in(folder: Path) -> bool:
    """Whether files can be written in a folder; a missing one is made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def require_writable(path: Path, *, inputs: Iterable[str | Path | None] = ()) -> None:
    """Refuses a place that a file cannot be written to, before there is anything to write.

    Args:
        path: Where the file will go. Symbolic links are followed.
        inputs: Files and folders that the work reads: none of them is replaced, nor a file in one.

    Raises:
        UsageError: The place is no regular file or one of the inputs, its name is too long, or its
            folder is missing or cannot be written to.
    """
    try:
        target = _target(path)
        _refuse_inputs(path, target, inputs)
        if not target.parent.is_dir():
            raise UsageError(f"the output's folder {target.parent} does not exist: make it first")
        with tempfile.TemporaryFile(dir=target.parent):
            pass
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the output {_shown(path)} cannot be written: {_reason(error)}"
        ) from error


def require_writable_in(
    folder: Path, names: Iterable[str], *, inputs: Iterable[str | Path | None] = ()
) -> None:
    """Refuses a folder that files cannot be written to, before there is anything to write.

    Args:
        folder: The folder. A missing one is not made yet.
        names: The files' names.
        inputs: As for :func:`require_writable`.

    Raises:
        UsageError: The folder cannot be made, or one of the files cannot be written.
    """
    given, names = list(inputs), list(names)
    try:
        missing: list[str] = []
        parent = Path(os.path.realpath(folder))
        while not parent.exists():
            missing.append(parent.name)
            parent = parent.parent
        if missing:
            longest = os.pathconf(parent, "PC_NAME_MAX")
            if any(len(os.fsencode(name)) > longest for name in (*missing, *names)):
                raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        with tempfile.TemporaryFile(dir=parent):
            pass
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the output folder {_shown(folder)} cannot be written: {_reason(error)}"
        ) from error
    if not missing:
        for name in names:
            require_writable(folder / name, inputs=given)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside ``path`` to write to, and renames it when the block is done.

    Whatever ends the block early (an error, Ctrl-C, a full disk) leaves ``path`` as it was.

    Raises:
        IngotError: The operating system refused to write, or ``path`` is no regular file.
    """
    try:
        target = _target(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(target.parent) as folder:
            temporary = folder / target.name
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(target)
    except (OSError, UsageError) as error:
        raise IngotError(
            f"cannot write {_shown(path)}: {_reason(error)}; free space there, or give another "
            f"place (${CACHE_VARIABLE} moves the cache)"
        ) from error


@contextlib.contextmanager
def atomic_file(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Opens a temporary file that becomes ``path`` when the block ends well, synced.

    Whatever ends the block otherwise (no space left, Ctrl-C) removes it, and ``path`` is as it was.

    Args:
        path: Where it goes.
        mode: Who may read and write it, less what the user's mask forbids; until it is whole, only
            its owner.

    Raises:
        ArtifactError: The file cannot be written, or ``path`` is no regular file.
    """
    temporary: Path | None = None
    try:
        target = _target(path)
        _remove_left_behind(target.parent)
        handle, name = tempfile.mkstemp(prefix=_UNFINISHED, dir=target.parent)
        temporary = Path(name)
        with os.fdopen(handle, "w+b") as file:
            _lock(handle)
            yield file
            file.flush()
            os.fsync(handle)
            temporary.chmod(mode & ~_umask())
            temporary.replace(target)
        temporary = None
        _sync_folder(target.parent)
    except (OSError, UsageError) as error:
        raise ArtifactError(f"cannot write {_shown(path)}: {_reason(error)}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def temporary_place() -> Path:
    """Returns the folder for files that go with the work.

    Raises:
        IngotError: The system has none.
    """
    try:
        return Path(tempfile.gettempdir())
    except OSError as error:
        raise _no_temporary_place(error) from error


@contextlib.contextmanager
def temporary_folder(prefix: str = "ingot-") -> Iterator[Path]:
    """Makes a folder among the temporary ones, which is removed with all that it holds.

    Raises:
        IngotError: None can be made.
    """
    try:
        made = tempfile.TemporaryDirectory(prefix=prefix)
    except OSError as error:
        raise _no_temporary_place(error) from error
    with made as name:
        yield Path(name)


def temporary_file() -> IO[bytes]:
    """Returns a new file without a name, which is gone when it is closed.

    Raises:
        IngotError: None can be made.
    """
    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        raise _no_temporary_place(error) from error


def _no_temporary_place(error: OSError) -> IngotError:
    return IngotError(f"no temporary file can be made: {_reason(error)}; set TMPDIR to a folder")


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """Makes a hidden folder that is removed with all that it holds when the block ends.

    Raises:
        OSError: The operating system refused.
    """
    _remove_left_behind(parent)
    with tempfile.TemporaryDirectory(
        prefix=_UNFINISHED, dir=parent, ignore_cleanup_errors=True
    ) as name:
        descriptor = os.open(name, os.O_RDONLY)
        try:
            _lock(descriptor)
            yield Path(name)
        finally:
            os.close(descriptor)


def _target(path: Path) -> Path:
    """Where a path leads, links followed: a regular file, or nothing yet.

    Raises:
        UsageError: Something else lies there.
    """
    target = Path(os.path.realpath(path))
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return target
    if stat.S_ISDIR(mode):
        raise UsageError(f"the output {_shown(path)} is a folder: give a file name")
    if not stat.S_ISREG(mode):
        raise UsageError(
            f"the output {_shown(path)} is no regular file, and nothing else is replaced: give "
            "another name"
        )
    return target


def _refuse_inputs(path: Path, target: Path, inputs: Iterable[str | Path | None]) -> None:
    if not target.exists():
        return
    for given in [Path(one) for one in inputs if one is not None]:
        if not given.exists():
            continue
        if target.samefile(given):
            raise UsageError(
                f"the output {_shown(path)} is {_shown(given)}, which is read: give another name"
            )
        inside = target.is_relative_to(os.path.realpath(given))
        if inside and target.suffix.lower() not in _NEVER_DATA:
            raise UsageError(
                f"the output {_shown(path)} is a file in {_shown(given)}, which is read: give "
                "another place"
            )


def _remove_left_behind(folder: Path) -> None:
    """Removes what killed processes left in a folder while they wrote."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(_UNFINISHED):
                _remove_if_left(entry)


def _remove_if_left(entry: os.DirEntry[str]) -> None:
    with contextlib.suppress(OSError):
        if time.time() - entry.stat(follow_symlinks=False).st_mtime < _LEFT_BEHIND_SECONDS:
            return
        descriptor = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                Path(entry.path).unlink()
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Tells others that who writes here lives; a file system without locks does without."""
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _shown(path: Path) -> str:
    """A path for one line of text: bytes that are no UTF-8 are escaped, a long name is cut."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
