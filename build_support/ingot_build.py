"""The build backend: setuptools, plus the runtime's own library, compiled for each architecture.

The compiler is the one of the ``ziglang`` wheel; a wheel of Ingot needs none, and holds the library
for every architecture that Ingot compiles for.
"""

from __future__ import annotations

import shutil
from typing import Any

import native
from setuptools import build_meta
from setuptools.build_meta import (  # noqa: F401
    build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

_COMPILER = "ziglang>=0.13"


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """Returns what a wheel's build needs: the C compiler."""
    return [*build_meta.get_requires_for_build_wheel(config_settings), _COMPILER]


def get_requires_for_build_editable(config_settings: Any = None) -> list[str]:
    """Returns what an editable install needs: the same."""
    return [*build_meta.get_requires_for_build_editable(config_settings), _COMPILER]


def build_wheel(
    wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None
) -> str:
    """Builds the wheel with the runtime's library inside, and nothing that was there before."""
    shutil.rmtree(native.FOLDER, ignore_errors=True)
    native.build_all()
    return str(build_meta.build_wheel(wheel_directory, config_settings, metadata_directory))


def build_editable(
    wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None
) -> str:
    """Builds the runtime's library in the source tree, and the wheel that points there."""
    native.build_all()
    return str(build_meta.build_editable(wheel_directory, config_settings, metadata_directory))
