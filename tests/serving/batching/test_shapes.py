from __future__ import annotations

import numpy as np
import pytest

from ingot.errors import InputError
from ingot.runtime.manifest import TensorSpec
from ingot.serving.batching.shapes import BatchAxis, Joiner, batch_axis

X = TensorSpec("x", "float32", ("N", 3))
Y = TensorSpec("y", "float32", ("N", 2))


@pytest.mark.parametrize(
    ("inputs", "outputs", "axis"),
    [
        ([("N", 3)], [("N", 2)], BatchAxis(None)),
        ([("N", "T")], [("N", "T", 2)], BatchAxis(None)),
        ([(8, 3)], [(8, 2)], BatchAxis(8)),
        ([(1, 3)], [(1, 2)], None),
        ([("N", 3), (4, 3)], [("N", 2)], None),
        ([("N", "N")], [("N", 2)], None),
        ([("N", 3)], [("M", 2)], None),
        ([("N", 3)], [(2,)], None),
        ([("N", 3)], [()], None),
        ([], [("N",)], None),
    ],
)
def test_a_batch_axis_is_the_first_of_all_tensors(
    inputs: list[tuple[int | str, ...]],
    outputs: list[tuple[int | str, ...]],
    axis: BatchAxis | None,
) -> None:
    def specs(shapes: list[tuple[int | str, ...]]) -> list[TensorSpec]:
        return [TensorSpec(f"t{i}", "float32", shape) for i, shape in enumerate(shapes)]

    assert batch_axis(specs(inputs), specs(outputs)) == axis


def test_what_is_joined_is_parted_again() -> None:
    joiner = Joiner([X], [Y])
    arrays = [np.full((rows, 3), rows, np.float32) for rows in (1, 3, 2)]
    joined = joiner.join([{"x": each} for each in arrays], [1, 3, 2], None)
    assert joined["x"].shape == (6, 3)
    parted = joiner.part({"y": joined["x"][:, :2]}, [1, 3, 2])
    for part, array in zip(parted, arrays, strict=True):
        np.testing.assert_array_equal(part["y"], array[:, :2])


def test_a_batch_is_filled_up_to_the_rows_that_the_model_was_compiled_for() -> None:
    joiner = Joiner([TensorSpec("x", "float32", (4, 3))], [TensorSpec("y", "float32", (4, 2))])
    assert joiner.check({"x": np.ones((3, 3), np.float32)}) == (3, ((3,),))
    joined = joiner.join([{"x": np.ones((3, 3), np.float32)}], [3], 4)
    np.testing.assert_array_equal(joined["x"].sum(axis=1), [3, 3, 3, 0])
    assert joiner.part({"y": joined["x"][:, :2]}, [3])[0]["y"].shape == (3, 2)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "x is missing"),
        ({"x": np.ones((1, 3), np.float32), "z": np.ones(1)}, "no input is called z"),
        ({"x": np.ones((1, 4), np.float32)}, "x"),
        ({"x": np.ones((1, 3), np.float64)}, "x"),
        ({"x": np.ones((0, 3), np.float32)}, "at least one row"),
    ],
)
def test_a_request_that_does_not_fit_is_refused(inputs: dict[str, np.ndarray], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Joiner([X], [Y]).check(inputs)
