"""Casts to and from 8-bit floats and integers of 2 and 4 bits, one model for each type."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ingot.compiler.build import compile_model
from ingot.errors import UnsupportedOperatorError
from ingot.reference.session import Reference
from ingot.runtime.session import Session

UNVERIFIED = {"verify": {"enabled": False}}
SPECIAL = [0.0, -0.0, np.nan, np.inf, -np.inf, 1e-7, -1e-7, 448.0, 464.0, 465.0, 57344.0, 61000.0]


def _floats() -> np.ndarray:
    """Numbers of every size that an 8-bit float tells apart, halfway ones among them."""
    generator = np.random.default_rng(0)
    spread = generator.standard_normal(400) * 2.0 ** generator.integers(-20, 18, 400)
    halfway = (np.arange(1, 60) * 2.0**-10).repeat(2) * np.tile([1, -1], 59)
    return np.concatenate([SPECIAL, spread, halfway]).astype(np.float32)


def _to_and_from(kind: int, size: int, codes: int) -> onnx.ModelProto:
    """Casts floats to a type, also without saturation, and a tensor of that type to others."""
    nodes = [
        helper.make_node("Cast", ["x"], ["narrow"], to=kind),
        helper.make_node("CastLike", ["half", "c"], ["like"]),
        helper.make_node("Transpose", ["c"], ["moved"], perm=[1, 0]),
        helper.make_node("Cast", ["moved"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["c"], ["half_out"], to=TensorProto.FLOAT16),
    ]
    outputs = [("narrow", kind, [size]), ("like", kind, [size]), ("moved", kind, [codes // 2, 2]),
               ("float", TensorProto.FLOAT, [codes // 2, 2]),
               ("half_out", TensorProto.FLOAT16, [2, codes // 2])]  # fmt: skip
    if "FLOAT" in TensorProto.DataType.Name(kind):
        nodes.append(helper.make_node("Cast", ["x"], ["unlimited"], to=kind, saturate=0))
        outputs.append(("unlimited", kind, [size]))
    graph = helper.make_graph(
        nodes,
        "casts",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [size]),
            helper.make_tensor_value_info("half", TensorProto.FLOAT16, [size]),
            helper.make_tensor_value_info("c", kind, [2, codes // 2]),
        ],
        [helper.make_tensor_value_info(*output) for output in outputs],
    )
    opset = 25 if "INT2" in TensorProto.DataType.Name(kind) else 23
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=11)


@pytest.mark.parametrize(
    "name",
    ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "int4", "uint4", "int2"],
)
def test_casts_are_those_of_onnx_runtime(tmp_path: Path, name: str) -> None:
    dtype = np.dtype(getattr(ml_dtypes, name))
    is_float = name.startswith("float")
    count = 256 if is_float else 1 << int(name[-1])
    floats = _floats() if is_float else np.linspace(-9, 16, 51, dtype=np.float32)
    codes = np.arange(count, dtype=np.uint8)
    inputs = {
        "x": floats,
        "half": floats.clip(-6e4, 6e4).astype(np.float16),
        "c": (codes.view(dtype) if is_float else codes.astype(dtype)).reshape(2, count // 2),
    }
    model = _to_and_from(helper.np_dtype_to_tensor_dtype(dtype), floats.size, count)
    artifact = compile_model(model, tmp_path / "m.ingot")
    with Session(artifact.path) as session:
        actual = session.run(inputs)
    for output, expected in Reference(model).run(inputs).items():
        assert actual[output].dtype == expected.dtype
        np.testing.assert_array_equal(
            actual[output].astype(np.float32), expected.astype(np.float32), err_msg=output
        )


def test_floats_of_4_bits(tmp_path: Path) -> None:
    dtype = np.dtype(ml_dtypes.float4_e2m1fn)
    floats = np.append(np.linspace(-8, 8, 129), np.nan).astype(np.float32)
    model = _to_and_from(TensorProto.FLOAT4E2M1, floats.size, 16)
    codes = np.arange(16, dtype=np.uint8).view(dtype).reshape(2, 8)
    inputs = {"x": floats, "half": floats.astype(np.float16), "c": codes}
    artifact = compile_model(model, tmp_path / "m.ingot", recipe=UNVERIFIED)
    with Session(artifact.path) as session:
        actual = session.run(inputs)
    narrow = floats.astype(dtype).astype(np.float32)
    for output in ("narrow", "like", "unlimited"):
        np.testing.assert_array_equal(actual[output].astype(np.float32), narrow)
    np.testing.assert_array_equal(actual["float"], codes.astype(np.float32).T)


def test_arithmetic_on_them_is_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("IsNaN", ["x"], ["y"], "check")],
        "nan",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT8E5M2, [3])],
        [helper.make_tensor_value_info("y", TensorProto.BOOL, [3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    with pytest.raises(UnsupportedOperatorError, match="'check' .IsNaN.: it is not lowered"):
        compile_model(model, tmp_path / "m.ingot", recipe={"fallback": False})
