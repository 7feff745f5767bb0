"""Rearranged constants are folded without compiling anything."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax

from ingot.targets.relax.constants import fold_constant_layouts


def calls(module: tvm.IRModule) -> list[relax.Call]:
    bindings = [b for block in module["main"].body.blocks for b in block.bindings]
    return [b.value for b in bindings if isinstance(b.value, relax.Call)]


def operators(module: tvm.IRModule) -> list[str]:
    return [call.op.name for call in calls(module)]


def build(emit) -> tvm.IRModule:
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((2, 3), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            result = builder.emit_output(emit(builder, x))
        builder.emit_func_output(result)
    return builder.get()


def test_a_chain_becomes_one_constant() -> None:
    weight = np.arange(6, dtype=np.float32)

    def emit(builder: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        constant = relax.const(weight, "float32")
        matrix = builder.emit(relax.op.reshape(constant, (3, 2)))
        matrix = builder.emit(relax.op.permute_dims(matrix))
        matrix = builder.emit(relax.op.expand_dims(matrix, [0, 2]))
        matrix = builder.emit(relax.op.reshape(matrix, (2, 3)))
        return relax.op.add(x, matrix)

    folded = fold_constant_layouts(build(emit))
    assert operators(folded) == ["relax.add"]
    constant = calls(folded)[0].args[1]
    np.testing.assert_array_equal(constant.value.numpy(), weight.reshape(3, 2).T)


def test_what_depends_on_an_input_stays() -> None:
    module = build(lambda builder, x: relax.op.permute_dims(builder.emit(relax.op.add(x, x))))
    assert operators(fold_constant_layouts(module)) == ["relax.add", "relax.permute_dims"]
