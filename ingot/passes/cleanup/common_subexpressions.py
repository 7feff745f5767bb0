"""``cleanup.common-subexpressions``: what is computed once need not be computed again."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable

import onnx_ir as ir

from ingot.passes.base import EXACT, IngotPass, PassOptions, PassOutcome
from ingot.passes.cleanup.purity import is_pure
from ingot.passes.cleanup.rewiring import can_forward, forward, is_used
from ingot.passes.cleanup.scopes import Scope, scopes, subgraphs

_Known = dict[Hashable, ir.Node]


class CommonSubexpressions(IngotPass[PassOptions]):
    """Merges nodes that apply one operator with equal attributes to the same values.

    A node of a subgraph also gives way to an equal one of the graph around it that runs before.
    Random operators, control flow, and operators of unknown domains are never merged. onnx_ir's
    pass of this kind stays in the main graph, and takes Bernoulli and a Dropout in training mode
    for deterministic.
    """

    name = "cleanup.common-subexpressions"
    summary = "Compute equal operators on the same inputs once."
    tolerance = EXACT

    def call(self, model: ir.Model) -> PassOutcome:
        """Merges equal nodes into the first of them."""
        merged = sum(_merge(scope, {}) for scope in scopes(model) if not scope.outer)
        return PassOutcome(model, merged > 0, merged)


def _merge(scope: Scope, visible: _Known) -> int:
    known = dict(visible)
    merged = 0
    for node in scope.graph:
        for subgraph in subgraphs(node):
            merged += _merge(Scope(subgraph, scope.opset), known)
        if not is_pure(node, scope.opset):
            continue
        key = _key(node)
        first = known.setdefault(key, node)
        if first is not node and _replaceable(node, first):
            for old, new in zip(node.outputs, first.outputs, strict=True):
                if is_used(old):
                    forward(old, new)
            scope.graph.remove(node, safe=True)
            merged += 1
    return merged


def _replaceable(node: ir.Node, first: ir.Node) -> bool:
    """Whether ``first`` computes every output of ``node`` that is used, and may stand for it."""
    wanted_outputs = [
        (old, new) for old, new in zip(node.outputs, first.outputs, strict=True) if is_used(old)
    ]
    return all(new.name != "" and can_forward(old, new) for old, new in wanted_outputs)


def _key(node: ir.Node) -> Hashable:
    attributes = tuple(
        (name, _attribute_key(attribute)) for name, attribute in sorted(node.attributes.items())
    )
    # The number of outputs is part of what some operators do: Split divides by it.
    return node.op_identifier(), tuple(map(id, node.inputs)), len(node.outputs), attributes


def _attribute_key(attribute: ir.Attr) -> Hashable:
    if attribute.is_ref():
        return attribute.type, "reference", attribute.ref_attr_name
    if attribute.type == ir.AttributeType.TENSOR:
        return attribute.type, _tensor_key(attribute.as_tensor())
    if attribute.type == ir.AttributeType.TENSORS:
        return attribute.type, tuple(map(_tensor_key, attribute.as_tensors()))
    # repr tells 0.0 from -0.0, which == does not.
    return attribute.type, repr(attribute.value)


def _tensor_key(tensor: ir.TensorProtocol) -> Hashable:
    if tensor.dtype == ir.DataType.STRING:
        data: bytes = repr(tensor.numpy().reshape(-1).tolist()).encode()
    else:
        data = tensor.tobytes()
    shape = tuple(int(size) for size in tensor.shape.numpy())
    return tensor.dtype, shape, hashlib.sha256(data).digest()
