"""Random strings and maps: those that a model has a word for, and some that it has not."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from ingot.onnx_graph.indices import places
from ingot.reference.session import Array

_WORDS = ("", "a", "the", "Ingot", "0", "42", "größe", "two words")


def random_strings(
    value: ir.Value, shape: tuple[int, ...], generator: np.random.Generator
) -> Array:
    """Strings for an input: from its readers' vocabularies, where they have one."""
    words = _vocabulary(value, ir.AttributeType.STRINGS) or list(_WORDS)
    return np.asarray(generator.choice(np.array(words, object), shape))


def random_map(
    value: ir.Value, kind: onnx.TypeProto, generator: np.random.Generator
) -> dict[Any, Any] | list[dict[Any, Any]]:
    """A map from keys that the input's readers know to numbers or strings; a list for a sequence.

    Args:
        value: The input.
        kind: Its type.
        generator: Where randomness comes from.
    """
    if kind.HasField("sequence_type"):
        return [_random_map(value, kind.sequence_type.elem_type, generator) for _ in range(2)]
    return _random_map(value, kind, generator)


def _random_map(
    value: ir.Value, kind: onnx.TypeProto, generator: np.random.Generator
) -> dict[Any, Any]:
    holds_strings = kind.map_type.value_type.tensor_type.elem_type == onnx.TensorProto.STRING
    if kind.map_type.key_type == onnx.TensorProto.STRING:
        keys = _vocabulary(value, ir.AttributeType.STRINGS) or list(_WORDS)
    else:
        keys = _vocabulary(value, ir.AttributeType.INTS) or list(range(4))
    chosen = [key for key in keys if generator.random() < 0.7] or keys[:1]
    if holds_strings:
        return {key: str(generator.choice(np.array(_WORDS))) for key in chosen}
    return {key: float(generator.standard_normal()) for key in chosen}


def _vocabulary(value: ir.Value, kind: ir.AttributeType) -> list[Any]:
    """What lists of a kind the readers of an input carry as attributes."""
    return list(
        dict.fromkeys(
            word
            for node, _ in places(value)
            for attribute in node.attributes.values()
            if attribute.type == kind and not attribute.is_ref()
            for word in attribute.value
        )
    )
