"""How many times a function reads its variables."""

from __future__ import annotations

import collections
from collections.abc import Sequence

from tvm import relax


def count_uses(function: relax.Function) -> collections.Counter[relax.Var]:
    """Returns how many times each variable is read; a function's result counts as read."""
    uses: collections.Counter[relax.Var] = collections.Counter()

    def visit(expression: relax.Expr) -> None:
        uses.update(read for read in _read(expression) if isinstance(read, relax.Var))

    relax.analysis.post_order_visit(function, visit)
    return uses


def _read(expression: relax.Expr) -> Sequence[relax.Expr]:
    """Returns what an expression reads."""
    if isinstance(expression, relax.Call):
        return list(expression.args)
    if isinstance(expression, relax.Tuple):
        return list(expression.fields)
    if isinstance(expression, relax.TupleGetItem):
        return [expression.tuple_value]
    return [expression.body] if isinstance(expression, relax.SeqExpr) else []
