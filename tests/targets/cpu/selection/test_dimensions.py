"""Dimensions of Relax tensors as those of prim funcs."""

from __future__ import annotations

from tvm import relax, tirx

from ingot.targets.cpu.selection.dimensions import Dimensions, same_dimension, shape_of

N, M = (tirx.Var(name, "int64") for name in "nm")


def test_equal_dimensions_share_a_variable_of_the_prim_funcs_own() -> None:
    dimensions = Dimensions()
    first, other, again, double, twice, number = dimensions.all_of([N, M, N, N * 2, N + N, 7])
    assert first.same_as(again)
    assert double.same_as(twice)
    assert not first.same_as(other)
    assert not first.same_as(N)
    assert number == 7


def test_same_dimension() -> None:
    assert same_dimension(3, 3)
    assert same_dimension(N * 4, 4 * N)
    assert not same_dimension(N, M)
    assert not same_dimension(N, 3)


def test_shape_of() -> None:
    assert shape_of(relax.Var("x", relax.TensorType([2, 3], "float32"))) == [2, 3]
    assert shape_of(relax.Var("x", relax.TensorType(dtype="float32", ndim=2))) is None
    size = shape_of(relax.Var("x", relax.TensorType([N, 3], "float32")))
    assert size is not None
    assert size[0].same_as(N)
