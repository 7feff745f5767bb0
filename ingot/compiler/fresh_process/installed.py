"""Which packages an install of Ingot brings, and a process that can import no others."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.metadata
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from types import ModuleType

_DISTRIBUTION = "ingot"
# Of Ingot itself, what the deployed machine runs.
_OWN = ("ingot.runtime", "ingot.errors")
_REQUIREMENT = re.compile(r"[A-Za-z0-9._-]+")
_EXTRA = re.compile(r"extra\s*==\s*[\"']([\w-]+)[\"']")


def packages_of(extras: Iterable[str]) -> frozenset[str]:
    """Returns the top-level packages that an install brings, by the metadata of what is installed.

    Args:
        extras: The extras it is made with; without any it is the base install.
    """
    packages: set[str] = set()
    seen: set[str] = set()
    waiting = [(_DISTRIBUTION, frozenset(extras))]
    while waiting:
        name, chosen = waiting.pop()
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # of an environment marker that does not hold here
        if name != _DISTRIBUTION:
            packages.update(_top_level(distribution))
        for requirement in distribution.requires or ():
            needed, extra = _REQUIREMENT.match(requirement), _EXTRA.search(requirement)
            if needed is None or (extra is not None and extra.group(1) not in chosen):
                continue
            if needed.group() not in seen:
                seen.add(needed.group())
                waiting.append((needed.group(), frozenset()))
    return frozenset(packages)


def _top_level(distribution: importlib.metadata.Distribution) -> set[str]:
    found = set()
    for path in distribution.files or ():
        first = PurePosixPath(path).parts[0]
        if not first.endswith((".dist-info", ".data")) and first != "..":
            found.add(first.partition(".")[0])
    return found


class InstalledAlone(importlib.abc.MetaPathFinder):
    """Refuses to import what an install does not bring, as if it were not there.

    It goes first in ``sys.meta_path``. What has been imported before stays.
    """

    def __init__(self) -> None:
        """Allows the base install."""
        self._allowed = set(packages_of(()))

    def allow(self, packages: Iterable[str]) -> None:
        """Allows further top-level packages."""
        self._allowed.update(packages)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002  # of the interface
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        """Leaves a module to the other finders.

        Raises:
            ModuleNotFoundError: It is not part of the install.
        """
        top = fullname.partition(".")[0]
        known = top in self._allowed or top in sys.stdlib_module_names or top.startswith("_sysconf")
        own = fullname == _DISTRIBUTION or f"{fullname}.".startswith(tuple(f"{o}." for o in _OWN))
        if known or own:
            return None
        raise ModuleNotFoundError(
            f"No module named {fullname!r} where the runtime is installed alone", name=fullname
        )
