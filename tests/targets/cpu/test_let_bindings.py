"""Let expressions become statements before the one that they stand in."""

from __future__ import annotations

import pytest
import tvm_ffi
from tvm import tirx
from tvm.tirx import stmt as statements

from ingot.targets.cpu.kernels.writing.emission import Emitter, load, prim_func
from ingot.targets.cpu.let_bindings import bind_let_expressions


def squares(count: int) -> tirx.PrimFunc:
    """Each element becomes the square of itself plus one, in a statement of its own."""
    source, result = (tirx.decl_buffer([count], "float32", name) for name in ("x", "y"))
    emitter = Emitter()
    for at in range(count):
        sum_ = tirx.Var("sum", "float32")
        value = tirx.Let(sum_, load(source, at) + tirx.const(1.0, "float32"), sum_ * sum_)
        emitter.store(result, value, [at])
    return prim_func([source, result], emitter.body())


def test_statements_stand_in_one_sequence() -> None:
    body = bind_let_expressions(squares(3)).body
    while not isinstance(body, statements.SeqStmt):
        body = body.block.body if hasattr(body, "block") else body.body
    kinds = [type(part).__name__ for part in body.seq]
    assert kinds == ["AllocBuffer", "BufferStore", "Bind", "BufferStore"] * 3


def test_a_long_sequence_is_not_copied_for_each_statement(monkeypatch: pytest.MonkeyPatch) -> None:
    def copied(*_: object) -> None:
        raise AssertionError("a list became an array of TVM's")

    function = squares(8)
    monkeypatch.setattr(tvm_ffi.Array, "__radd__", copied)
    bind_let_expressions(function)
