"""The descriptions of known processors, by LLVM's names (``presets.toml``)."""

from __future__ import annotations

import dataclasses
import functools
import importlib.resources
import sys
from collections.abc import Collection, Mapping
from typing import Any

from ingot.targets.cpu.microarchitecture.description import Microarchitecture
from ingot.targets.cpu.microarchitecture.sizes import parse_size

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_CACHES = ("l1d", "l2", "l3")
# The level of a processor without a preset, by the kernel's name of the feature that tells it.
_LEVELS = {"avx512f": "x86-64-v4", "avx2": "x86-64-v3"}
_LOWEST_LEVEL = {"x86_64": "x86-64-v2", "aarch64": "generic"}


@dataclasses.dataclass(frozen=True)
class Preset:
    """What is known of processors.

    Attributes:
        title: What they are called here.
        names: LLVM's names of them.
        core: The description.
        sources: Where its numbers are from.
    """

    title: str
    names: tuple[str, ...]
    core: Microarchitecture
    sources: str


@functools.cache
def presets() -> tuple[Preset, ...]:
    """Returns all presets, of an architecture the older processors first."""
    file = importlib.resources.files(__package__).joinpath("presets.toml")
    tables: dict[str, dict[str, Any]] = tomllib.loads(file.read_text(encoding="utf-8"))
    common = tables.pop("common")
    return tuple(_preset(title, {**common, **table}) for title, table in tables.items())


def _preset(title: str, table: Mapping[str, Any]) -> Preset:
    numbers = dict(table)
    names, sources = numbers.pop("names"), numbers.pop("sources")
    numbers |= {f"{cache}_bytes": parse_size(numbers.pop(cache)) for cache in _CACHES}
    return Preset(title, tuple(names), Microarchitecture(**numbers), sources)


def preset_of(mcpu: str, architecture: str, features: Collection[str]) -> Preset:
    """Returns the preset of a processor: its own, or that of its level of the instruction set.

    Args:
        mcpu: LLVM's name of it.
        architecture: ``x86_64`` or ``aarch64``.
        features: Its features, by the kernel's names.
    """
    by_name = {name: preset for preset in presets() for name in preset.names}
    levels = (level for feature, level in _LEVELS.items() if feature in features)
    level = next(levels, _LOWEST_LEVEL[architecture])
    return by_name.get(mcpu.replace("_", "-"), by_name[level])
