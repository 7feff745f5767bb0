"""Applies the rules that select kernels to the calls of a module.

A rule takes one operator's calls. Where it returns None the call stays, TVM legalizes it, and the
schedules for plain loops take what comes of it.
"""

from __future__ import annotations

import collections
from collections.abc import Mapping, Sequence

import tvm
from tvm import relax

from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.cpu.selection.base import Selection, Selector


@relax.expr_functor.mutator
class _Selector(relax.PyExprMutator):  # type: ignore[misc]
    def __init__(
        self, module: tvm.IRModule, cpu: CpuDescription, rules: Mapping[str, Selector]
    ) -> None:
        super().__init__(module)
        self._rules = rules
        self._uses: collections.Counter[relax.Var] = collections.Counter()
        self.selection = Selection(
            self.builder_, cpu, self.lookup_binding, lambda variable: self._uses[variable]
        )

    def count_uses(self, function: relax.Function) -> None:
        def visit(expression: relax.Expr) -> None:
            self._uses.update(read for read in _read(expression) if isinstance(read, relax.Var))

        relax.analysis.post_order_visit(function, visit)

    def visit_call_(self, call: relax.Call) -> relax.Expr:
        call = self.visit_expr_post_order(call)
        rule = self._rules.get(getattr(call.op, "name", ""))
        selected = None if rule is None else rule(self.selection, call)
        return call if selected is None else selected


def _read(expression: relax.Expr) -> Sequence[relax.Expr]:
    """Returns what an expression reads; a function's results count as read."""
    if isinstance(expression, relax.Call):
        return list(expression.args)
    if isinstance(expression, relax.Tuple):
        return list(expression.fields)
    if isinstance(expression, relax.TupleGetItem):
        return [expression.tuple_value]
    return [expression.body] if isinstance(expression, relax.SeqExpr) else []


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
    function = module["main"]
    selector.count_uses(function)
    rewritten = selector.visit_expr(function)
    module = selector.builder_.get()
    module["main"] = rewritten
    return relax.transform.DeadCodeElimination(["main"])(module)
