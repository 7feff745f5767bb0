"""QOperators as QuantizeLinear, a float operator and DequantizeLinear.

An operator on integers computes what its float counterpart does between DequantizeLinear and
QuantizeLinear, but for results in the middle between two integers, where the float arithmetic's
rounding decides: there the two may differ by one. Targets recognize the form that is written, and
have no need to know ONNX Runtime's operators.
"""

from __future__ import annotations

from typing import ClassVar

import onnx_ir as ir

from ingot.passes.base import LOSSY, PassOptions, Tolerance
from ingot.passes.fusion.rewriting import Fusion, FusionPass
from ingot.passes.qoperators.dynamic import DYNAMIC_RULES
from ingot.passes.qoperators.rules import RULES

_RULES = {**RULES, **DYNAMIC_RULES}


class SpellOut(FusionPass[PassOptions]):
    """QOperators, ONNX Runtime's included, in standard QDQ form; ingest runs it."""

    name: ClassVar[str] = "qoperators.spell-out"
    summary: ClassVar[str] = "Write operators on integers as float ones between Q and DQ."
    tolerance: ClassVar[Tolerance] = LOSSY
    candidates: ClassVar[frozenset[str]] = frozenset(operator for _, operator in _RULES)
    domains: ClassVar[frozenset[str]] = frozenset(domain for domain, _ in _RULES)
    forward: ClassVar[bool] = True

    def match(self, node: ir.Node) -> Fusion | None:
        """Finds the rule of an operator."""
        rule = _RULES.get((node.domain, node.op_type))
        if rule is None:
            return None
        return Fusion(
            node, [node], lambda builder: rule(node, builder), opset=13, operator="a scale per axis"
        )
