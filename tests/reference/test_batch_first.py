"""The reference runs recurrent layers whose batch comes first."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir
import pytest

from ingot.reference.batch_first import steps_first
from ingot.reference.session import Reference
from tests.recurrent_layers import GATES, Layer


@pytest.mark.parametrize("cell", sorted(GATES))
def test_results_are_those_of_steps_first_transposed(cell: str) -> None:
    states = ("initial_h", "initial_c") if cell == "LSTM" else ("initial_h",)
    layer = Layer(
        cell,
        given=("B", "lengths", *states),
        constant=False,
        attributes={"layout": 1, "direction": "bidirectional"},
    )
    arrays = layer.arrays(4, 3)
    results = Reference(layer.model(4, 3)).run(arrays)
    expected = layer.expected(arrays)
    assert list(results) == list(expected)
    for name, right in expected.items():
        np.testing.assert_array_equal(results[name], right, err_msg=name)


def test_other_models_stay_the_same_object_and_this_one_unchanged() -> None:
    layer = Layer("GRU", attributes={"layout": 1}, outputs=("", "Y_h"))
    model = ir.from_proto(layer.model())
    before = ir.to_proto(model).SerializeToString()
    moved = steps_first(model)
    assert [node.op_type for node in moved.graph] == ["Transpose", "GRU", "Transpose"]
    assert [value.name for value in moved.graph.outputs] == ["Y_h"]
    assert ir.to_proto(model).SerializeToString() == before
    plain = ir.from_proto(dataclasses.replace(layer, attributes={}).model())
    assert steps_first(plain) is plain
