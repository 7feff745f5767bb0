"""The control groups of this process: where Linux states what it may use (versions 1 and 2)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple


class ControlGroup(NamedTuple):
    """What one hierarchy says of this process.

    Attributes:
        version: 1 or 2; it decides the names of the files.
        folders: The process's own folder first, then that of each group around it, up to where the
            hierarchy is mounted. A limit of any of them holds.
    """

    version: int
    folders: tuple[Path, ...]

    def read(self, file: str) -> Iterator[str]:
        """The contents of a file in each folder that has it, the innermost first.

        Raises:
            OSError: A file is there and cannot be read.
        """
        for folder in self.folders:
            try:
                yield (folder / file).read_text(encoding="ascii").strip()
            except FileNotFoundError:
                continue  # the root group states no limits, nor does one without the controller


def control_groups(controller: str, root: Path = Path("/")) -> list[ControlGroup]:
    """Finds the groups of this process that can hold a controller.

    On a machine that mounts both versions a controller belongs to one of them; the other one's
    folders then lack its files.

    Args:
        controller: As version 1 names it, such as ``cpu`` or ``memory``.
        root: Where ``/proc`` and ``/sys`` are.

    Raises:
        OSError: ``/proc`` is not mounted or cannot be read.
    """
    memberships = (root / "proc/self/cgroup").read_text(encoding="utf-8")
    mounts = (root / "proc/self/mountinfo").read_text(encoding="utf-8")
    found = []
    for line in memberships.splitlines():
        number, controllers, path = line.split(":", 2)
        version = 2 if number == "0" and not controllers else 1
        if version == 1 and controller not in controllers.split(","):
            continue
        for mounted, mount_point in _mounts(mounts, version, controller):
            folders = _folders(PurePosixPath(path), mounted, root / mount_point.lstrip("/"))
            found.append(ControlGroup(version, folders))
    return found


def _mounts(mountinfo: str, version: int, controller: str) -> Iterator[tuple[PurePosixPath, str]]:
    """The mounts of a hierarchy: which group of it is mounted, and where (``proc(5)``)."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if version == 2 and kind != "cgroup2":
            continue
        if version == 1 and (kind != "cgroup" or controller not in options.split(",")):
            continue
        mounted, mount_point = before.split(" ")[3:5]
        yield PurePosixPath(_unescaped(mounted)), _unescaped(mount_point)


def _folders(group: PurePosixPath, mounted: PurePosixPath, mount_point: Path) -> tuple[Path, ...]:
    """The folders from a group's own up to the mount point.

    Within a container the group may be named as the machine outside sees it, while its own group
    is what is mounted: then the mount point is the process's own folder.
    """
    if ".." in group.parts or not group.is_relative_to(mounted):
        return (mount_point,)
    inner = group.relative_to(mounted)
    if not (mount_point / inner).is_dir():
        return (mount_point,)
    return tuple(mount_point / part for part in (inner, *inner.parents))


def _unescaped(name: str) -> str:
    if "\\" not in name:
        return name
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), name)
