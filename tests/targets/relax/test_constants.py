"""Rearranged constants, and arithmetic on constants, are folded without compiling anything."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relax

from ingot.targets.relax.constants import fold_constants


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

    folded = fold_constants(build(emit))
    assert operators(folded) == ["relax.add"]
    constant = calls(folded)[0].args[1]
    np.testing.assert_array_equal(constant.value.numpy(), weight.reshape(3, 2).T)


def test_what_depends_on_an_input_stays() -> None:
    module = build(lambda builder, x: relax.op.permute_dims(builder.emit(relax.op.add(x, x))))
    assert operators(fold_constants(module)) == ["relax.add", "relax.permute_dims"]


SPECIAL = np.array([0.0, -0.0, 1e-40, 3.0, -2.5, np.inf, -np.inf, np.nan], np.float32)
LEFT, RIGHT = SPECIAL[:, None] + np.zeros(8, np.float32), SPECIAL[None, :]


def folded_by_tvm(emit) -> np.ndarray:
    """What the same kernel gives that TVM would compile: `emit` gets variables."""
    builder = relax.BlockBuilder()
    operands = [
        relax.Var("a", relax.TensorType(LEFT.shape, "float32")),
        relax.Var("b", relax.TensorType(RIGHT.shape, "float32")),
    ]
    with builder.function("main", operands):
        builder.emit_func_output(builder.emit(emit(*operands)))
    machine = relax.VirtualMachine(relax.build(builder.get(), "llvm"), tvm.cpu())
    return machine["main"](*map(tvm.runtime.tensor, (LEFT, RIGHT))).numpy()


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide"])
def test_arithmetic_of_constants_has_the_bits_of_code_that_computes_it(name: str) -> None:
    operator = getattr(relax.op, name)
    constants = [relax.const(array, "float32") for array in (LEFT, RIGHT)]
    module = build(lambda builder, x: builder.emit(operator(*constants)))
    (constant,) = constants_of(fold_constants(module))
    expected = folded_by_tvm(operator)
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(constant), ~numbers)
    assert constant[numbers].tobytes() == expected[numbers].tobytes()


def constants_of(module: tvm.IRModule) -> list[np.ndarray]:
    found: list[np.ndarray] = []

    def note(expression: relax.Expr) -> None:
        if isinstance(expression, tvm.ir.GenericConst):
            found.append(expression.value.numpy())

    relax.analysis.post_order_visit(module["main"], note)
    return found


def test_the_scale_of_a_normalization_becomes_one_constant() -> None:
    variance = np.array([0.5, 2.0, 0.0], np.float32)

    def emit(builder: relax.BlockBuilder, x: relax.Var) -> relax.Expr:
        constant = builder.emit(relax.op.expand_dims(relax.const(variance, "float32"), [0]))
        moved = builder.emit(relax.op.add(constant, relax.const(1e-5, "float32")))
        return relax.op.divide(x, builder.emit(relax.op.sqrt(moved)))

    folded = fold_constants(build(emit))
    assert operators(folded) == ["relax.divide"]
    constant = calls(folded)[0].args[1].value.numpy()
    np.testing.assert_array_equal(constant, np.sqrt(variance + np.float32(1e-5))[None])


@pytest.mark.parametrize("dtype", ["int32", "float16", "bool"])
def test_arithmetic_that_ieee_754_does_not_settle_stays(dtype: str) -> None:
    constant = relax.const(np.array([1, 0], dtype), dtype)
    module = build(lambda builder, x: builder.emit(relax.op.add(constant, constant)))
    assert operators(fold_constants(module)) == ["relax.add"]
