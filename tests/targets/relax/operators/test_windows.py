"""Windows of a size that is known, or a dimension, or given when the model runs."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from ingot.errors import InputError
from ingot.reference.session import Reference
from tests.targets.cpu.conftest import Compile, Run
from tests.targets.relax.sizes import parse

WINDOWS = ("BlackmanWindow", "HammingWindow", "HannWindow")


def model(body: str, inputs: str = "int64 size, float[N, 3] x") -> onnx.ModelProto:
    outputs = ", ".join(f"float[M{number}] y{number}" for number in range(6))
    return onnx.parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 20]>
        g ({inputs}) => ({outputs}) {{
          axis = Constant<value = int64 {{0}}>()
          shape = Shape(x)
          rows = Gather(shape, axis)
          seven = Constant<value = int64 {{7}}>()
          {body}
        }}""")


@pytest.mark.parametrize("size", ["size", "rows", "seven"])
def test_sizes(run_on_cpu: Run, size: str) -> None:
    """All windows, periodic and not, in one model."""
    body = "\n".join(
        f"y{2 * number + periodic} = {window}<periodic = {periodic}>({size})"
        for number, window in enumerate(WINDOWS)
        for periodic in (0, 1)
    )
    given = model(body)
    inputs = {"size": np.array(12), "x": np.zeros((9, 3), np.float32)}
    expected = Reference(given).run(inputs)
    results = run_on_cpu(given, *inputs.values())
    for actual, right in zip(results, expected.values(), strict=True):
        assert actual.dtype == right.dtype
        np.testing.assert_allclose(actual, right, rtol=1e-6, atol=1e-6)


def test_types_and_ends(run_on_cpu: Run) -> None:
    """Other types of results, sizes of 32 bits, one value and none."""
    given = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 20]>
        g (int32 size) => (double[M] y, float16[K] z) {
          y = HannWindow<output_datatype = 11>(size)
          z = HammingWindow<output_datatype = 10, periodic = 0>(size)
        }""")
    for size in (0, 1, 5):
        wide, narrow = run_on_cpu(given, np.array(size, np.int32))
        assert (wide.dtype, narrow.dtype) == (np.float64, np.float16)
        np.testing.assert_allclose(wide, np.hanning(size + 1)[:size], atol=1e-12)
        if size == 5:
            np.testing.assert_allclose(narrow[[0, 2]], [4 / 46, 1], atol=1e-3)


def test_a_negative_size_is_refused(compile_for_cpu: Compile) -> None:
    compiled = compile_for_cpu(parse("g (int64 n) => (float[P] y) { y = HannWindow(n) }"))
    assert compiled(np.array(0))[0].shape == (0,)
    with pytest.raises(InputError, match="size -1 is negative"):
        compiled(np.array(-1))
