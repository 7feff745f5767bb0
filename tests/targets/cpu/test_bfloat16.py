"""Arithmetic on bfloat16, alone and in one kernel with casts to and from it."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
from onnx import parser

from ingot.compiler.build import compile_model
from ingot.runtime.session import Session


def test_bfloat16(tmp_path: Path) -> None:
    model = parser.parse_model("""<ir_version: 10, opset_import: ["" : 22]>
        g (bfloat16[4, 40] x) => (
          bfloat16[4, 40] sigmoid, bfloat16[4, 40] twice, bfloat16[4, 4] product, bfloat16[4] sum,
          bfloat16[4, 40] root, bool[4, 40] more
        ) {
          wide = Cast<to = 1>(x)
          activated = Sigmoid(wide)
          sigmoid = Cast<to = 16>(activated)
          twice = Add(x, x)
          turned = Transpose(x)
          product = MatMul(x, turned)
          axis = Constant<value_ints = [1]>()
          sum = ReduceSum<keepdims = 0>(x, axis)
          root = Sqrt(x)
          more = Greater(twice, x)
        }""")
    data = (np.arange(160).reshape(4, 40) / 16).astype(ml_dtypes.bfloat16)
    unverified = {"verify": {"enabled": False}, "fallback": False}
    artifact = compile_model(model, tmp_path / "m.ingot", recipe=unverified)
    with Session(artifact.path) as session:
        results = session.run({"x": data})
    exact = data.astype(np.float32)
    expected = {
        "sigmoid": 1 / (1 + np.exp(-exact)),
        "twice": 2 * exact,
        "product": exact @ exact.T,
        "sum": exact.sum(1),
        "root": np.sqrt(exact),
        "more": exact > 0,
    }
    for name, actual in results.items():
        assert actual.dtype == (bool if name == "more" else ml_dtypes.bfloat16)
        np.testing.assert_allclose(actual.astype(np.float32), expected[name], 1e-2, err_msg=name)
