"""Rewriting of scalar expressions: variables and loads replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tvm_ffi
from tvm import ir, tirx


def substitute(expression: tirx.Expr, values: Mapping[tirx.Var, tirx.Expr]) -> tirx.Expr:
    """Returns an expression with variables replaced."""
    return tvm_ffi.structural_map(
        expression, [(ir.Var, lambda variable: values.get(variable, variable))]
    )


def rewrite_loads(expression: tirx.Expr, rewrite: Callable[[tirx.Expr], tirx.Expr]) -> tirx.Expr:
    """Returns an expression with each load replaced by what ``rewrite`` makes of it."""
    return tvm_ffi.structural_map(expression, [(ir.TensorLoad, rewrite)])
