"""What the code of open sizes follows from: the model, not addresses of objects."""

from __future__ import annotations

import pytest
import tvm
from tvm import relax, te, tirx

import ingot.targets.relax.tvm_internals  # noqa: F401
from ingot.targets.relax.argument_order import in_order_of_shapes


def _prim_func(sizes: int) -> tuple[tvm.IRModule, list[tirx.Var]]:
    """A prim func over a tensor whose shape computes with variables that no shape tells."""
    variables = [tirx.Var(f"s{i}", "int64") for i in range(sizes)]
    computed = [(variable + 1) // 2 for variable in variables]
    data = relax.Var("data", relax.TensorType(computed, "float32"))
    given = relax.Var("sizes", relax.ShapeType(variables))
    builder = relax.BlockBuilder()
    with builder.function("main", [data, given]):
        result = builder.emit_te(
            lambda x: te.compute(x.shape, lambda *at: x(*at) * 2.0, "doubled"), data
        )
        builder.emit_func_output(result)
    return builder.get(), variables


@pytest.mark.parametrize("sizes", [1, 2, 12])
def test_scalars_are_taken_in_the_order_in_which_shapes_have_them(sizes: int) -> None:
    module, variables = _prim_func(sizes)
    function = next(f for f in module.functions.values() if isinstance(f, tirx.PrimFunc))
    scalars = [p.name for p in function.params if isinstance(p.ty, tvm.ir.PrimType)]
    assert scalars == [variable.name for variable in variables]
    call = module["main"].body.blocks[0].bindings[0].value
    assert [str(each) for each in call.args[1].fields[1:]] == scalars


def test_two_builds_share_one_prim_func_and_are_equal() -> None:
    modules = [_prim_func(12)[0] for _ in range(4)]
    assert len({module.script() for module in modules}) == 1


def test_a_prim_func_with_one_number_is_left_as_it_is() -> None:
    module, _ = _prim_func(1)
    function = next(f for f in module.functions.values() if isinstance(f, tirx.PrimFunc))
    arguments = list(function.params)[:-1]
    assert in_order_of_shapes(function, arguments)[0] is function
