"""Packages that read a checkpoint's format, which only those need who have such a file."""

from __future__ import annotations

import importlib.util

from ingot.errors import IngotError

EXTRA = "pip install 'ingot[checkpoints]'"


def require_extra(package: str, name: str) -> None:
    """Checks that a package of the extra ``checkpoints`` is installed.

    Args:
        package: The package's name.
        name: What error messages call the file that it is to read.

    Raises:
        IngotError: It is not; says how to install it.
    """
    if importlib.util.find_spec(package) is None:
        raise IngotError(f"reading {name} needs the package {package}: install it with `{EXTRA}`")
