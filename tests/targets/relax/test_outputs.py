"""Results stay what they were: no output lies in a caller's buffer, a weight, or another output."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import onnx
import pytest

from ingot.compiler.build import compile_model
from ingot.reference.session import Reference
from ingot.runtime.session import Session

MODEL = """<ir_version: 10, opset_import: ["" : 21]>
borrowing (float[N, 16] x, float[4, 4] unchanged, bool c) =>
  (float[N, 16] same, float[M] flat, float[N, 16] kept, float[16] w, float[4, 4] square,
   float[2] small, float[N, 16] y, float[N, 16] twice, float[4, 4] unchanged, float[4] z,
   float[N, 16] either, int64 rank)
<float[16] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, int64[1] minus_one = {-1},
 int64[2] four = {4, 4}, int64[1] zero = {0}, int64 none = {0}> {
  same = Identity(x)
  flat = Reshape(x, minus_one)
  u = Unsqueeze(x, zero)
  kept = Squeeze(u, zero)
  square = Reshape(w, four)
  small = Constant<value = float[2] {1, 2}>()
  p = Add(x, w)
  y = Relu(p)
  twice = Identity(y)
  z = ReduceMax<keepdims = 0>(unchanged, zero)
  either = If (c) <
    then_branch = then () => (float[N, 16] t) { t = Identity(x) },
    else_branch = otherwise () => (float[N, 16] e) { e = Neg(x) }
  >
  dims = Shape(z)
  rank = Gather(dims, none)
}"""


@pytest.fixture(scope="module")
def proto() -> onnx.ModelProto:
    return onnx.parser.parse_model(MODEL)


@pytest.fixture(scope="module")
def session(proto: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> Session:
    path: Path = tmp_path_factory.mktemp("outputs") / "borrowing.ingot"
    return compile_model(proto, path).session(threads=1)


def aligned(*shape: int, seed: int) -> np.ndarray:
    """A buffer that the session reads in place."""
    size = 4 * int(np.prod(shape))
    raw = np.zeros(size + 64, np.uint8)
    offset = -raw.ctypes.data % 64
    array = raw[offset : offset + size].view(np.float32).reshape(shape)
    array[...] = np.random.default_rng(seed).normal(size=shape)
    return array


@pytest.mark.parametrize("condition", [True, False])
def test_kept_results_do_not_change(
    proto: onnx.ModelProto, session: Session, condition: bool
) -> None:
    inputs = {"x": aligned(3, 16, seed=0), "unchanged": aligned(4, 4, seed=1)}
    inputs["c"] = np.array(condition)
    expected = Reference(proto).run(inputs)
    results = session.run(inputs)
    for array in inputs.values():
        array[...] = 0
    session.run(inputs)
    assert list(results) == list(expected)
    for name, right in expected.items():
        np.testing.assert_array_equal(results[name], right, err_msg=name)


def test_no_two_arrays_share_memory(session: Session) -> None:
    inputs = {"x": aligned(3, 16, seed=0), "unchanged": aligned(4, 4, seed=1), "c": np.array(True)}
    arrays = [*inputs.items(), *session.run(inputs).items()]
    shared = [
        (one, other)
        for (one, left), (other, right) in itertools.combinations(arrays, 2)
        if np.shares_memory(left, right)
    ]
    assert shared == []


def test_results_of_one_kernel_are_not_copied(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 21]>
        g (float[N, 4] x) => (float[N, 2] a, float[N, 2] b, float[N, 2] again) {
          y = Relu(x)
          a, b = Split<axis = 1, num_outputs = 2>(y)
          again = Identity(b)
        }""")
    artifact = compile_model(model, tmp_path / "split.ingot")
    kernels = artifact.manifest.placement["cpu"]["kernels"]
    assert {name: kernel["calls"] for name, kernel in kernels.items() if "copy" in name} == {
        "copy": 1
    }
    x = np.array([[1, 2, 3, -4]], np.float32)
    with artifact.session() as session:
        results = session.run({"x": x})
    assert [results[name].tolist() for name in ("a", "b", "again")] == [
        [[1, 2]],
        [[3, 0]],
        [[3, 0]],
    ]
