"""Applies the rules that select kernels to the calls of a module.

A rule takes one operator's calls. Where it returns None the call stays, TVM legalizes it, and the
schedules for plain loops take what comes of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tvm
from tvm import relax

from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.cpu.selection.base import Selection, Selector
from ingot.targets.relax.uses import count_uses


@relax.expr_functor.mutator
class _Selector(relax.PyExprMutator):  # type: ignore[misc]
    def __init__(
        self, module: tvm.IRModule, cpu: CpuDescription, rules: Mapping[str, Selector]
    ) -> None:
        super().__init__(module)
        self._rules = rules
        uses = count_uses(module["main"])
        self.selection = Selection(
            self.builder_, cpu, self.lookup_binding, lambda variable: uses[variable]
        )

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        rule = self._rules.get(getattr(call.op, "name", ""))
        selected = None if rule is None else rule(self.selection, call)
        return call if selected is None else selected


def select_kernels(
    module: tvm.IRModule, cpu: CpuDescription, phases: Sequence[Mapping[str, Selector]]
) -> tvm.IRModule:
    """Replaces the calls of ``main`` for which Ingot has kernels of its own.

    Args:
        module: The Relax module.
        cpu: The processor that code is made for.
        phases: Rules by operator; a phase sees what the ones before it left.
    """
    for rules in phases:
        module = _apply(module, cpu, rules)
    return module


def _apply(
    module: tvm.IRModule, cpu: CpuDescription, rules: Mapping[str, Selector]
) -> tvm.IRModule:
    selector = _Selector(module, cpu, rules)
    rewritten = selector.visit_expr(module["main"])
    module = selector.builder_.get()
    module["main"] = rewritten
    return relax.transform.DeadCodeElimination(["main"])(module)
