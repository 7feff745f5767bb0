"""Finding what the NPU can compute: every cone of a QDQ graph that a rule lowers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import onnx_ir as ir

from ingot.targets.base import Unsupported
from ingot.targets.npu.cone import Cone, Unfit, cone_of, grid_of, is_dequantize, is_quantize
from ingot.targets.npu.rules import RULES, Layer, Rule

_LINEAR = frozenset({"Conv", "Gemm", "MatMul"})
_NOT_THIS_FAMILY = "not "


@dataclasses.dataclass(frozen=True)
class Composite:
    """A cone with the rule that lowers it.

    Attributes:
        cone: The operators.
        rule: The rule.
        layer: What the rule understood.
    """

    cone: Cone
    rule: Rule
    layer: Layer

    @property
    def name(self) -> str:
        """Name of the operator that stands for it in reports."""
        nodes = self.cone.body or self.cone.nodes or self.cone.all_nodes
        return str(nodes[0].name)


@dataclasses.dataclass(frozen=True)
class Found:
    """What of a graph the NPU can compute.

    Attributes:
        composites: In graph order.
        unfit: Operators that it cannot, and why, in graph order.
    """

    composites: Sequence[Composite]
    unfit: Sequence[Unsupported]


def find_composites(graph: ir.Graph) -> Found:
    """Finds all cones of a graph that a rule lowers."""
    composites: list[Composite] = []
    reasons: dict[ir.Node, str] = {}
    for node in graph:
        if not is_quantize(node) or node.inputs[0] is None:
            continue
        root = node.inputs[0]
        try:
            grid = grid_of(node)
            if grid is None:
                raise Unfit("its result is on a grid that the NPU has not")
            composites.append(_matched(cone_of(root, node.outputs[0], grid, node)))
        except Unfit as reason:
            producer = root.producer()
            if producer is not None:
                reasons.setdefault(producer, str(reason))
    taken = {node for composite in composites for node in composite.cone.nodes}
    for node in graph:
        if node.op_type in _LINEAR and node.domain == "" and node not in taken:
            try:
                composites.append(_matched(cone_of(node.outputs[0], node.outputs[0], None, None)))
                taken.add(node)
            except Unfit as reason:
                reasons.setdefault(node, str(reason))
    order = {node: index for index, node in enumerate(graph)}
    composites.sort(key=lambda composite: order[composite.cone.all_nodes[-1]])
    return Found(composites, _left_over(graph, taken, reasons))


def _matched(cone: Cone) -> Composite:
    reasons = []
    for rule in RULES:
        try:
            return Composite(cone, rule, rule.match(cone))
        except Unfit as reason:
            reasons.append(str(reason))
    specific = [reason for reason in reasons if not reason.startswith(_NOT_THIS_FAMILY)]
    kinds = "+".join(node.op_type for node in cone.body)
    raise Unfit(specific[0] if specific else f"no rule lowers {kinds}")


def _left_over(
    graph: ir.Graph, taken: set[ir.Node], reasons: dict[ir.Node, str]
) -> list[Unsupported]:
    """The operators that stay on the CPU, borders aside."""
    return [
        Unsupported(str(node.name), node.op_type, reasons.get(node, "it is not between integers"))
        for node in graph
        if node not in taken
        and node.op_type != "Constant"
        and not is_quantize(node)
        and not is_dequantize(node)
    ]
