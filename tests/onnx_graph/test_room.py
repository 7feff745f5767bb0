"""Tensors that there is no memory for, and constants that are too large to be made."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from ingot.errors import ModelError
from ingot.onnx_graph.room import large_constant, machine_memory, require_room
from ingot.onnx_graph.shape_inference import infer_shapes


def model_of(body: str, weights: str = "") -> ir.Model:
    model = ir.from_onnx_text(
        f"""<ir_version: 10, opset_import: ["": 20]>
        g (float[1] x, int64 i) => (y) <{weights}> {{ {body} }}
        """
    )
    infer_shapes(model)
    return model


SHAPE = "int64[2] s = {65536, 16384}"
SMALL = "int64[2] s = {1024, 1024}"
RANGE = "int64 a = {0}, int64 b = {16777216}, int64 d = {1}"


@pytest.mark.parametrize(
    ("body", "weights", "name"),
    [
        ("c = ConstantOfShape(s) y = Add(x, c)", SHAPE, "c"),
        ("c = ConstantOfShape(s) m = Neg(c) y = Add(x, m)", SMALL, None),
        ("c = ConstantOfShape(s) m = Tile(c, s) y = Add(x, m)", SMALL, "m"),
        ("y = Expand(x, s)", SHAPE, None),
        ("r = Range(a, b, d) f = Cast<to = 1>(r) y = Add(x, f)", RANGE, "r"),
        ("r = Range(a, b, i) f = Cast<to = 1>(r) y = Add(x, f)", RANGE, None),
    ],
)
def test_constants_that_folding_would_make(body: str, weights: str, name: str | None) -> None:
    found = large_constant(model_of(body, weights))
    assert (None if found is None else found.name) == name


def test_what_takes_more_than_half_of_the_memory_is_refused(monkeypatch) -> None:
    assert machine_memory() > 1 << 28
    model = model_of("y = Expand(x, s)", "int64[2] s = {1024, 1024}")
    monkeypatch.setattr("ingot.onnx_graph.room.machine_memory", lambda: 8 << 20)
    require_room(model)
    monkeypatch.setattr("ingot.onnx_graph.room.machine_memory", lambda: (8 << 20) - 2)
    with pytest.raises(ModelError, match=r"'y' of shape \[1024,1024\], which node .*\(Expand\)"):
        require_room(model)
