"""Kernels that move blocks of elements read nothing outside of their tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from ingot.compiler.build import compile_model
from tests.guarded.process import GuardedProcess


def test_a_channel_shuffle_of_transposed_halves(guarded: GuardedProcess, tmp_path: Path) -> None:
    """Blocks of either half were loaded also where the other one stands."""
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 20]>
        shuffle (float[1,8,8,48] a, float[1,8,8,48] b) => (float[1,96,8,8] y)
        <int64[5] up = {1, 2, 48, 8, 8}, int64[4] down = {1, 96, 8, 8}> {
            at = Transpose<perm = [0, 3, 1, 2]>(a)
            bt = Transpose<perm = [0, 3, 1, 2]>(b)
            c = Concat<axis = 1>(at, bt)
            r = Reshape(c, up)
            t = Transpose<perm = [0, 2, 1, 3, 4]>(r)
            y = Reshape(t, down)
        }""")
    artifact = compile_model(model, tmp_path / "m.ingot", recipe={"verify": {"enabled": False}})
    halves = np.random.default_rng(0).normal(size=(2, 1, 8, 8, 48)).astype(np.float32)
    found = guarded.run(artifact.path, {"a": halves[0], "b": halves[1]})
    assert isinstance(found, dict), found
    expected = halves.transpose(1, 4, 0, 2, 3).reshape(1, 96, 8, 8)
    np.testing.assert_array_equal(found["y"], expected)
