"""Padding and cutting off, by sizes that are known, symbolic, or given when the model runs."""

from __future__ import annotations

import numpy as np
import pytest

from tests.targets.cpu.conftest import Compile
from tests.targets.relax.sizes import assert_same, assert_same_at, parse


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
def test_modes(compile_for_cpu: Compile, mode: str) -> None:
    model = parse(f"""g (float[N,4] x, int64[4] p) => (float[A,B] y, float[C,D] z) {{
      q = Constant<value = int64[4] {{1, 0, 2, 1}}>()
      y = Pad<mode = "{mode}">(x, q) z = Pad<mode = "{mode}">(x, p) }}""")
    compiled = compile_for_cpu(model)
    for n in (3, 5):
        x = np.arange(n * 4, dtype=np.float32).reshape(n, 4)
        for pads in ([1, 0, 2, 1], [0, 0, 0, 0], [-1, 1, 1, -1], [0, 2, 0, -2]):
            assert_same(model, compiled, {"x": x, "p": np.array(pads)})


def test_a_length_filled_up(compile_for_cpu: Compile) -> None:
    text = """g (float[1,N] x) => (float[1,M] y) {
      one = Constant<value = int64 {1}>() whole = Constant<value = int64 {256}>()
      zero = Constant<value = int64 {0}>() first = Constant<value = int64[1] {0}>()
      none = Constant<value = int64[3] {0, 0, 0}>()
      s = Shape(x) n = Gather(s, one) d = Sub(whole, n) m = Max(d, zero)
      u = Unsqueeze(m, first) p = Concat<axis = 0>(none, u) y = Pad(x, p) }"""
    assert_same_at(compile_for_cpu, text, [{"N": n} for n in (1, 2, 255, 256, 257, 300)])


def test_a_value_and_pads_given_when_the_model_runs(compile_for_cpu: Compile) -> None:
    model = parse("""g (float[N,4] x, float v, int64[2] p) => (float[A,B] y) {
      a = Constant<value = int64[1] {-1}>() y = Pad(x, p, v, a) }""")
    compiled = compile_for_cpu(model)
    x, value = np.arange(4, dtype=np.float32).reshape(1, 4), np.array(7, np.float32)
    for pads in ([1, 0], [0, 2], [-1, 1], [-2, -2]):
        assert_same(model, compiled, {"x": x, "v": value, "p": np.array(pads)})
