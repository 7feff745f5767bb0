"""Fused prim funcs are split into an anchor and what follows it, or refused."""

from __future__ import annotations

import pytest
from tvm import te, tirx

from ingot.targets.cpu.kernels.fusion.taking_apart import NotFusableError, take_apart
from ingot.targets.cpu.kernels.writing.emission import index
from tests.targets.cpu.kernels.fusion.fused_functions import (
    ANCHOR,
    Steps,
    add,
    elementwise,
    fused,
    relu,
    tensor,
)


class TestTakingApart:
    """Fused prim funcs are split into an anchor and what follows it, or refused."""

    def test_the_anchor_is_what_selection_said(self) -> None:
        kernel = take_apart(fused((4, 5), relu))
        assert kernel.anchor == ANCHOR
        assert [buffer.name for buffer in kernel.parameters] == ["rows", "weights", "relu"]
        assert kernel.epilogue.result.same_as(kernel.parameters[-1])

    def test_operands_are_tensors_and_not_the_numbers_of_sizes(self) -> None:
        function = fused((4, 5), relu)
        counted = tirx.PrimFunc([*function.params, tirx.Var("n", "int64")], function.body)
        names = [operand.name for operand in take_apart(counted).operands]
        assert names == ["rows", "weights"]

    def test_an_anchor_alone_has_no_steps(self) -> None:
        assert take_apart(fused((4, 5), lambda anchor: anchor)).epilogue.steps == ()

    def test_steps_keep_their_order(self) -> None:
        kernel = take_apart(fused((4, 5), lambda anchor, other: relu(add(anchor, other)), (4, 5)))
        assert [variable.name for variable, _ in kernel.epilogue.steps] == ["add", "relu"]

    def test_an_axis_of_one_element_has_one_position(self) -> None:
        def first_row(anchor: te.Tensor) -> te.Tensor:
            return elementwise(anchor, lambda _, j: -anchor[0, j], "first_row")

        assert len(take_apart(fused((1, 5), first_row)).epilogue.steps) == 1
        with pytest.raises(NotFusableError, match="anchor is read at another position"):
            take_apart(fused((2, 5), first_row))

    @pytest.mark.parametrize(
        ("steps", "reason"),
        [
            pytest.param(
                lambda anchor: elementwise(anchor, lambda i, j: anchor[j, i], "transposed"),
                "anchor is read at another position",
                id="a transpose",
            ),
            pytest.param(
                lambda anchor: te.compute(
                    (index(4), index(2)), lambda i, j: anchor[i, j * 2], "cut"
                ),
                "block cut has another shape than the anchor",
                id="a part of the result",
            ),
            pytest.param(
                lambda anchor: te.compute(
                    (index(3), index(4), index(4)), lambda _, i, j: anchor[i, j], "copies"
                ),
                "block copies has another shape than the anchor",
                id="a broadcast to another rank",
            ),
            pytest.param(
                lambda anchor: _row_sums(anchor), "block sums is not element-wise", id="a reduction"
            ),
        ],
    )
    def test_what_is_refused(self, steps: Steps, reason: str) -> None:
        with pytest.raises(NotFusableError, match=reason):
            take_apart(fused((4, 4), steps))

    def test_a_function_without_an_anchor_is_refused(self) -> None:
        x = tensor(4, 5, name="x")
        with pytest.raises(NotFusableError, match="no block has an anchor"):
            take_apart(te.create_prim_func([x, relu(x)]))

    def test_a_result_that_nothing_returns_is_refused(self) -> None:
        function = fused((4, 5), relu)
        without_result = tirx.PrimFunc(list(function.params)[:-1], function.body)
        with pytest.raises(NotFusableError, match="its last block does not write the result"):
            take_apart(without_result)


def _row_sums(anchor: te.Tensor) -> te.Tensor:
    k = te.reduce_axis((index(0), index(4)), "k")
    return elementwise(anchor, lambda i, j: te.sum(anchor[i, k] + anchor[i, j], axis=[k]), "sums")
