"""Quantization to 8-bit floats and integers of 4 bits, and back, as ONNX Runtime has it."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, helper

from ingot.compiler.build import compile_model
from ingot.reference.session import Reference
from ingot.runtime.session import Session

DTYPES = ["float8_e4m3fn", "float8_e5m2", "int4", "uint4"]


@pytest.mark.parametrize("name", DTYPES)
def test_there_and_back(tmp_path: Path, name: str) -> None:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(getattr(ml_dtypes, name)))
    zero = [] if name.startswith("float") else ["z"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s"], ["one"], output_dtype=kind),
        helper.make_node("QuantizeLinear", ["x", "r", *zero], ["rows"], axis=0, output_dtype=kind),
        helper.make_node(
            "QuantizeLinear", ["x", "b"], ["blocks"], axis=1, block_size=4, output_dtype=kind
        ),
        helper.make_node("DequantizeLinear", ["q", "s"], ["y"]),
        helper.make_node("DequantizeLinear", ["q", "r", *zero], ["y_rows"], axis=0),
        helper.make_node("DequantizeLinear", ["q", "b"], ["y_blocks"], axis=1, block_size=4),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 8]),
        helper.make_tensor_value_info("s", TensorProto.FLOAT, []),
        helper.make_tensor_value_info("r", TensorProto.FLOAT, [3]),
        helper.make_tensor_value_info("b", TensorProto.FLOAT, [3, 2]),
        helper.make_tensor_value_info("q", kind, [3, 8]),
        *(helper.make_tensor_value_info(given, kind, [3]) for given in zero),
    ]
    quantized = [helper.make_tensor_value_info(y, kind, [3, 8]) for y in ("one", "rows", "blocks")]
    floats = [
        helper.make_tensor_value_info(y, TensorProto.FLOAT, [3, 8])
        for y in ("y", "y_rows", "y_blocks")
    ]
    graph = helper.make_graph(nodes, "narrow", inputs, [*quantized, *floats])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    generator = np.random.default_rng(0)
    dtype = np.dtype(getattr(ml_dtypes, name))
    arrays = {
        "x": generator.normal(size=(3, 8)) * 3,
        "s": np.array(0.3),
        "r": np.array([0.1, 0.5, 2]),
        "b": generator.uniform(0.1, 1, (3, 2)),
    }
    feeds = {key: array.astype(np.float32) for key, array in arrays.items()}
    feeds["q"] = generator.integers(0, 8, (3, 8)).astype(dtype)
    if zero:
        feeds["z"] = np.array([0, 3, 5]).astype(dtype)
    expected = Reference(model).run(feeds)
    artifact = compile_model(model, tmp_path / "m.ingot", recipe={"fallback": False})
    with Session(artifact.path) as session:
        actual = session.run(feeds)
    for key, wanted in expected.items():
        assert actual[key].dtype == wanted.dtype
        found, wanted = (array.astype(np.float32) for array in (actual[key], wanted))
        np.testing.assert_allclose(found, wanted, rtol=1e-6, err_msg=key)
