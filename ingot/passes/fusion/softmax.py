"""The detour that a softmax takes after its opset was raised, back into one softmax."""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from ingot.onnx_graph.matching import Unfit, producer, rank
from ingot.passes.base import PassOptions
from ingot.passes.fusion.rewriting import Builder, Fusion, FusionPass


class FuseSoftmax(FusionPass[PassOptions]):
    """Reshape(Softmax(Flatten(x, axis), -1), Shape(x)) into Softmax(x, -1), LogSoftmax likewise.

    Up to opset 12 a softmax normalized over all axes from ``axis`` on, flattened together. onnx's
    version converter spells that out, also where ``axis`` is the last one and nothing changes.
    """

    name: ClassVar[str] = "fusion.softmax"
    summary: ClassVar[str] = "Undo the flattening that raising the opset puts around a softmax."
    candidates: ClassVar[frozenset[str]] = frozenset({"Reshape"})

    def match(self, node: ir.Node) -> Fusion | None:
        """Matches the reshape after the softmax."""
        softmax = producer(node.inputs[0], "Softmax", "LogSoftmax")
        flatten = producer(softmax.inputs[0], "Flatten") if softmax is not None else None
        shape = producer(node.inputs[1], "Shape")
        if softmax is None or flatten is None or shape is None:
            return None
        x = flatten.inputs[0]
        if shape.inputs[0] is not x or "start" in shape.attributes or "end" in shape.attributes:
            return None
        x_rank = rank(x)
        if x_rank is None:
            raise Unfit("the number of dimensions of its input is unknown")
        if flatten.attributes.get_int("axis", 1) not in (-1, x_rank - 1):
            raise Unfit("it normalizes over several axes together")
        if softmax.attributes.get_int("axis", -1) not in (-1, 1):
            raise Unfit("it normalizes along another axis than the last one")

        def build(builder: Builder) -> ir.Value:
            return builder.node(softmax.op_type, [x], {"axis": -1})

        # From opset 13 on, axis means one axis.
        region = {node, softmax, flatten}
        return Fusion(node, region, build, (shape,), softmax, 13, softmax.op_type)
