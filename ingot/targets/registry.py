"""The targets by name, and the parsing of ``cpu:mcpu=znver4,threads=2``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import pydantic

from ingot.errors import UsageError
from ingot.targets.base import Target
from ingot.targets.cpu.target import CpuTarget
from ingot.targets.cuda.target import CudaTarget
from ingot.targets.npu.target import NpuTarget

TARGETS: dict[str, type[Target]] = {
    target.kind: target for target in (CpuTarget, CudaTarget, NpuTarget)
}


def parse_target(spec: str | Mapping[str, Any]) -> Target:
    """Returns the target that a string or a table (``{"kind": "cpu", "mcpu": …}``) describes.

    Raises:
        UsageError: No such target, or an option that it does not have; names the nearest valid one.
    """
    kind, options = _split(spec)
    target = TARGETS[kind]
    try:
        return target(target.options_type.model_validate(options))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        valid = list(target.options_type.model_fields)
        if first["type"] == "extra_forbidden":
            nearest = difflib.get_close_matches(key, valid, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"valid: {', '.join(valid)}"
            raise UsageError(f"target {kind} has no option {key!r}; {hint}") from error
        if first["type"] == "missing":
            raise UsageError(
                f"target {kind} needs option {key!r}; see `ingot targets`, or {kind}:NAME"
            ) from error
        raise UsageError(f"target {kind}, option {key!r}: {first['msg']}") from error


def _split(spec: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    if not isinstance(spec, str):
        options = dict(spec)
        return _known(str(options.pop("kind", "cpu"))), options
    kind, _, text = spec.partition(":")
    kind = _known(kind.strip())
    positional = TARGETS[kind].positional
    options = {}
    for index, item in enumerate(filter(None, text.split(","))):
        key, equals, value = item.partition("=")
        if not equals and positional is not None and index == 0:
            key, value = positional, key
        elif not equals:
            raise UsageError(f"target {spec!r}: {item!r} is not KEY=VALUE")
        options[key.strip()] = value.strip()
    return kind, options


def _known(kind: str) -> str:
    if kind not in TARGETS:
        raise UsageError(f"no target is called {kind!r}; the targets are {', '.join(TARGETS)}")
    return kind
