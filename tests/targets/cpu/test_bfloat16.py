"""bfloat16 between operators: rounded where the graph rounds, and nothing lost."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest

from tests.targets.cpu.conftest import Run


def rounded(array: np.ndarray) -> np.ndarray:
    return array.astype(ml_dtypes.bfloat16).astype(np.float32)


@pytest.mark.parametrize("shape", [(2, 8), (3, 85)])
def test_casts_there_and_back_in_a_chain(run_on_cpu: Run, shape: tuple[int, int]) -> None:
    sizes = ",".join(map(str, shape))
    model = onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["": 20]> g (float[{sizes}] x) => (float[{sizes}] y, '
        f"float[{sizes}] z) {{ a = Cast<to=16>(x) f = Cast<to=1>(a) n = Neg(f) s = Sigmoid(f)"
        " b = Cast<to=16>(n) c = Cast<to=16>(s) y = Cast<to=1>(b) z = Cast<to=1>(c) }"
    )
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    negated, squashed = run_on_cpu(model, x)
    np.testing.assert_array_equal(negated, -rounded(x))
    np.testing.assert_allclose(squashed, rounded(1 / (1 + np.exp(-rounded(x)))), rtol=8e-3)
