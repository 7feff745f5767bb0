"""A folder in which finished work is kept, so that it is not done again after an interruption.

Entries are named by what they were made from: the model, the recipe, the data and the versions of
the tools. What has changed in any of these is made anew.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ingot.cached import DamagedCacheError, read_entry, write_entry
from ingot.compiler.build import ARTIFACT_SUFFIX
from ingot.data.base import Array
from ingot.errors import ArtifactError
from ingot.runtime import ArtifactReader

_TOOLS = ("ingot", "apache-tvm", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "numpy")


class Workplace:
    """Artifacts, answers and times of candidates, by content."""

    def __init__(self, folder: Path) -> None:
        """Takes the folder; it is made when something is kept in it."""
        self._folder = folder

    def artifact(self, key: str) -> Path:
        """Where a candidate's artifact lies, or goes."""
        self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder / f"{key}{ARTIFACT_SUFFIX}"

    def has_artifact(self, key: str) -> bool:
        """Whether a candidate's artifact is there, undamaged."""
        path = self.artifact(key)
        if not path.is_file():
            return False
        try:
            ArtifactReader(path).verify()
        except ArtifactError:
            return False
        return True

    def facts(self, key: str) -> Any | None:
        """What was noted under a key; None where nothing is, or it is damaged."""
        stored = self._read(f"{key}.json")
        return None if stored is None else json.loads(stored)

    def note(self, key: str, facts: Any) -> None:
        """Notes facts, as JSON, under a key."""
        self._write(f"{key}.json", json.dumps(facts).encode())

    def arrays(self, key: str) -> dict[str, Array] | None:
        """Arrays that were kept under a key; None where there are none, or they are damaged."""
        stored = self._read(f"{key}.npz")
        if stored is None:
            return None
        with np.load(io.BytesIO(stored), allow_pickle=False) as archive:
            return dict(archive)

    def keep(self, key: str, arrays: Mapping[str, Array]) -> None:
        """Keeps arrays under a key."""
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **arrays)
        self._write(f"{key}.npz", content.getvalue())

    def _read(self, name: str) -> bytes | None:
        try:
            return read_entry(self._folder / name)
        except DamagedCacheError:
            return None

    def _write(self, name: str, content: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write_entry(self._folder / name, content)


def key_of(*parts: Any) -> str:
    """A digest of what something is made from, and of the tools' versions.

    Args:
        parts: What JSON can hold.
    """
    tools = {name: importlib.metadata.version(name) for name in _TOOLS}
    text = json.dumps([tools, *parts], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
