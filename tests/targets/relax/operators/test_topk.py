"""How many elements are asked for may be known, symbolic, or given when the model runs."""

from __future__ import annotations

import numpy as np

from tests.targets.cpu.conftest import Compile
from tests.targets.relax.sizes import assert_same, parse


def test_counts(compile_for_cpu: Compile) -> None:
    model = parse("""g (float[N,M] x, int64[1] k, float[K] t)
      => (float[N,A] y, int64[N,A] i, float[N,B] z, int64[N,B] j, float[N,2] v, int64[N,2] w) {
        y, i = TopK(x, k) s = Shape(t) z, j = TopK<largest = 0>(x, s)
        two = Constant<value = int64[1] {2}>() v, w = TopK(x, two) }""")
    compiled = compile_for_cpu(model)
    generator = np.random.default_rng(0)
    for m, given, asked in ((5, 1, 1), (5, 5, 3), (2, 2, 2), (1, 1, 1), (5, 6, 1), (5, 1, 7)):
        feeds = {
            "x": generator.permutation(2 * m).reshape(2, m).astype(np.float32),
            "k": np.array([given]),
            "t": np.zeros(asked, np.float32),
        }
        assert_same(model, compiled, feeds)
