"""``cleanup.duplicate-initializers``: one tensor for all equal ones."""

from __future__ import annotations

import hashlib
from collections import Counter

import onnx_ir as ir

from ingot.passes.base import EXACT, IngotPass, PassOptions, PassOutcome
from ingot.passes.cleanup.scopes import scopes

_Kind = tuple[ir.DataType, tuple[int, ...]]


class DuplicateInitializers(IngotPass[PassOptions]):
    """Merges initializers of equal type, shape and bytes.

    A subgraph's initializer also gives way to an equal one of a graph around it. Weights are read
    only where another has the same type and shape. Initializers that are inputs (a caller may feed
    them) or outputs stay.
    """

    name = "cleanup.duplicate-initializers"
    summary = "Keep one of several initializers that hold the same tensor."
    tolerance = EXACT

    def call(self, model: ir.Model) -> PassOutcome:
        """Merges equal initializers; the first in graph order stays."""
        all_scopes = scopes(model)
        kinds = Counter(
            kind
            for scope in all_scopes
            for value in scope.graph.initializers.values()
            if (kind := _kind(value)) is not None
        )
        known: dict[tuple[_Kind, bytes], list[ir.Value]] = {}
        merged = 0
        for scope in all_scopes:
            for name, value in list(scope.graph.initializers.items()):
                kind = _kind(value)
                if kind is None or kinds[kind] < 2:
                    continue
                equal = known.setdefault((kind, _digest(value)), [])
                visible = next((one for one in equal if scope.sees(one.graph)), None)
                if visible is None:
                    equal.append(value)
                    continue
                value.replace_all_uses_with(visible)
                del scope.graph.initializers[name]
                merged += 1
        return PassOutcome(model, merged > 0, merged)


def _kind(value: ir.Value) -> _Kind | None:
    tensor = value.const_value
    if tensor is None or value.is_graph_input() or value.is_graph_output():
        return None
    return tensor.dtype, tuple(int(size) for size in tensor.shape.numpy())


def _digest(value: ir.Value) -> bytes:
    tensor = value.const_value
    assert tensor is not None
    if tensor.dtype == ir.DataType.STRING:
        strings = tensor.numpy().reshape(-1).tolist()
        return hashlib.sha256(repr(strings).encode()).digest()
    return hashlib.sha256(tensor.tobytes()).digest()
