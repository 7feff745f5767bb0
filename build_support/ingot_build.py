"""The build backend: setuptools, plus the TVM runtime library that the wheel carries.

A wheel holds ``libtvm_runtime.so`` (3.4 MB) from the very apache-tvm that the compiler uses, so
that a deployed machine needs no compiler. An editable install needs no copy: the compiler is there.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (  # noqa: F401
    build_editable,
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

_ROOT = Path(__file__).resolve().parent.parent
_LIBRARY = "libtvm_runtime.so"
_CARRIED = _ROOT / "ingot" / "runtime" / "lib" / _LIBRARY


def _pinned_tvm() -> str:
    """Returns the compiler's requirement as pyproject.toml pins it."""
    text = (_ROOT / "pyproject.toml").read_text(encoding="utf-8")
    match = re.search(r'"(apache-tvm==[^"]+)"', text)
    if match is None:
        raise RuntimeError("pyproject.toml pins no apache-tvm")
    return match.group(1)


def _tvm_library() -> Path | None:
    spec = importlib.util.find_spec("tvm")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "lib" / _LIBRARY
    return path if path.is_file() else None


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    """Returns what a wheel's build needs: apache-tvm, where it is not installed already."""
    needed = list(build_meta.get_requires_for_build_wheel(config_settings))
    return needed if _tvm_library() else [*needed, _pinned_tvm()]


def build_wheel(
    wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None
) -> str:
    """Builds the wheel with the runtime library inside."""
    library = _tvm_library()
    if library is None:
        raise RuntimeError(f"a wheel needs {_pinned_tvm()} installed: {_LIBRARY} is in it")
    _CARRIED.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(library, _CARRIED)
    try:
        return str(build_meta.build_wheel(wheel_directory, config_settings, metadata_directory))
    finally:
        shutil.rmtree(_CARRIED.parent)
