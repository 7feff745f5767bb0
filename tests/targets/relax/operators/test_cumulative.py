"""Running sums and products along axes that are constant, negative or computed."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper, parser

from tests.targets.cpu.conftest import Compile

OPTIONS = [(exclusive, reverse) for exclusive in (0, 1) for reverse in (0, 1)]


def _expected(
    function: np.ufunc, data: np.ndarray, axis: int, exclusive: int, reverse: int
) -> np.ndarray:
    data = np.flip(data, axis) if reverse else data
    result = function.accumulate(data, axis, dtype=data.dtype)
    if exclusive:
        result = np.roll(result, 1, axis)
        np.moveaxis(result, axis, 0)[0] = function.identity
    return np.flip(result, axis) if reverse else result


@pytest.mark.parametrize("axis", ["axis", "c"])
@pytest.mark.parametrize(("name", "function"), [("CumSum", np.add), ("CumProd", np.multiply)])
def test_every_form(compile_for_cpu: Compile, name: str, function: np.ufunc, axis: str) -> None:
    outputs = ", ".join(f"float[N, 3, 4] y{number}" for number in range(len(OPTIONS)))
    nodes = "\n".join(
        f"y{number} = {name}<exclusive = {exclusive}, reverse = {reverse}>(x, {axis})"
        for number, (exclusive, reverse) in enumerate(OPTIONS)
    )
    model = parser.parse_model(f"""<ir_version: 13, opset_import: ["" : 26]>
        g (float[N, 3, 4] x, int32 axis) => ({outputs}) <int32[1] c = {{-2}}> {{ {nodes} }}""")
    data = np.random.default_rng(0).uniform(0.5, 2, (2, 3, 4)).astype(np.float32)
    compiled = compile_for_cpu(model)
    for along in (0, 1, -1) if axis == "axis" else (1,):
        results = compiled(data, np.array(along, np.int32))
        for actual, options in zip(results, OPTIONS, strict=True):
            expected = _expected(function, data, along, *options)
            np.testing.assert_allclose(actual, expected, rtol=1e-6, err_msg=str(options))


@pytest.mark.parametrize("dtype", ["int32", "float64"])
def test_dtypes(compile_for_cpu: Compile, dtype: str) -> None:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [helper.make_node("CumSum", ["x", "axis"], ["y"])]
    inputs = [
        helper.make_tensor_value_info("x", kind, [5]),
        helper.make_tensor_value_info("axis", 7, []),
    ]
    outputs = [helper.make_tensor_value_info("y", kind, [5])]
    graph = helper.make_graph(nodes, "sums", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=10)
    data = np.arange(5).astype(dtype)
    (actual,) = compile_for_cpu(model)(data, np.array(0))
    assert actual.dtype == dtype
    np.testing.assert_array_equal(actual, np.cumsum(data))
