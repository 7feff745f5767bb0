"""``cleanup.identities``: nodes that hand their input on as it is."""

from __future__ import annotations

import onnx_ir as ir
import pydantic

from ingot.passes.base import EXACT, Declined, IngotPass, PassOptions, PassOutcome
from ingot.passes.cleanup.identity_rules import RULES, Context, Undecided
from ingot.passes.cleanup.inverse_pairs import merge_with_producer
from ingot.passes.cleanup.rewiring import can_forward, forward, is_used
from ingot.passes.cleanup.scopes import scopes


class IdentitiesOptions(PassOptions):
    """Options of ``cleanup.identities``.

    Attributes:
        ignore_zero_sign: Also remove additions of +0.0 and subtractions of -0.0 in floating point,
            which turn -0.0 into 0.0; a model shows that only where it divides by the result.
    """

    ignore_zero_sign: bool = pydantic.Field(
        default=False, description="take x + 0.0 for x, though it turns -0.0 into 0.0"
    )


class Identities(IngotPass[IdentitiesOptions]):
    """Removes operators that change nothing, and pairs of which one undoes the other.

    Identity, Dropout in inference, Cast to the same type, Reshape and Expand to the same shape,
    Transpose in the same order, empty Pad, whole Slice, Concat of one, Flatten of a matrix, Tile
    once, adding 0 and multiplying by 1. Transpose of Transpose becomes one or none, Reshape of
    Reshape one; Cast there and back without loss, Squeeze of Unsqueeze and its reverse none.

    An operator stays where it gives a graph's output a name that nothing else can have: between an
    input, an initializer or another output, and an output.
    """

    name = "cleanup.identities"
    summary = "Remove operators that change nothing, and pairs that undo each other."
    options_type = IdentitiesOptions
    tolerance = EXACT

    def call(self, model: ir.Model) -> PassOutcome:
        """Removes identities from all graphs, until none is left."""
        removed = merged = 0
        declined: list[Declined] = []
        for scope in scopes(model):
            context = Context(scope.opset, self.options.ignore_zero_sign)
            for node in scope.graph:
                if node.domain != "" or any(attr.is_ref() for attr in node.attributes.values()):
                    continue
                merged += merge_with_producer(node)
                try:
                    removed += _remove_if_identity(node, context)
                except Undecided as reason:
                    declined.append(Declined(node.name or "", str(reason)))
        return PassOutcome(model, removed + merged > 0, removed + merged, declined)


def _remove_if_identity(node: ir.Node, context: Context) -> bool:
    rule = RULES.get(node.op_type)
    if rule is None or any(is_used(value) for value in node.outputs[1:]):
        return False
    same = rule(node, context)
    if same is None or not can_forward(node.outputs[0], same):
        return False
    graph = node.graph
    assert graph is not None
    forward(node.outputs[0], same)
    graph.remove(node, safe=True)
    return True
