"""Replacing variables and loads in expressions."""

from __future__ import annotations

import tvm_ffi
from tvm import tirx

from ingot.targets.cpu.kernels.writing.emission import index, load
from ingot.targets.cpu.kernels.writing.rewriting import rewrite_loads, substitute

ROW, COLUMN = tirx.Var("i", "int64"), tirx.Var("j", "int64")
X, Y = (tirx.decl_buffer([index(8), index(8)], "float32", name) for name in "xy")


def test_variables_are_replaced_wherever_they_stand() -> None:
    expression = load(X, ROW, COLUMN) + load(X, COLUMN, ROW) * tirx.Cast("float32", ROW)
    expected = load(X, index(3), COLUMN) + load(X, COLUMN, index(3)) * tirx.Cast(
        "float32", index(3)
    )
    assert tvm_ffi.structural_equal(substitute(expression, {ROW: index(3)}), expected)


def test_variables_change_places_at_once() -> None:
    swapped = substitute(load(X, ROW, COLUMN), {ROW: COLUMN, COLUMN: ROW})
    assert tvm_ffi.structural_equal(swapped, load(X, COLUMN, ROW))


def test_other_variables_stay() -> None:
    expression = load(X, ROW, COLUMN)
    assert tvm_ffi.structural_equal(substitute(expression, {}), expression)


def test_each_load_is_rewritten() -> None:
    def through_y(node: tirx.Expr) -> tirx.Expr:
        return load(Y, *reversed(node.indices)) if node.source.same_as(X) else node

    expression = tirx.Max(load(X, ROW, COLUMN), load(Y, ROW, COLUMN)) - load(X, COLUMN, COLUMN)
    expected = tirx.Max(load(Y, COLUMN, ROW), load(Y, ROW, COLUMN)) - load(Y, COLUMN, COLUMN)
    assert tvm_ffi.structural_equal(rewrite_loads(expression, through_y), expected)


def test_a_load_may_become_a_value() -> None:
    value = tirx.Var("value", "float32")
    rewritten = rewrite_loads(load(X, ROW, COLUMN) * load(X, ROW, COLUMN), lambda _: value)
    assert tvm_ffi.structural_equal(rewritten, value * value)
