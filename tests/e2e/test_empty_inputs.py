"""Open sizes may be zero: every family of kernels runs on tensors without elements."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import numpy_helper, parser

from ingot.compiler.build import compile_model
from ingot.runtime.session import Session

UNVERIFIED = {"verify": {"enabled": False}, "fallback": False}


def test_every_family_runs_on_nothing(tmp_path: Path) -> None:
    model = parser.parse_model("""<ir_version: 10, opset_import: ["" : 23]>
        g (float[N, 8, H, 9] image, float[L, N, 8] words, float[N, 4, L, 16] heads)
          => (float[N, 16, H, 9] pooled, float[N, 8, 1, 1] mean, float[L, 1, N, 16] states,
              float[N, 4, L, 16] attended, float[L, N, 8] rows, float[L, N, 16] product) {
          convolved = Conv<pads = [1, 1, 1, 1]>(image, kernel)
          active = Relu(convolved)
          pooled = MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(active)
          mean = GlobalAveragePool(image)
          states = LSTM<hidden_size = 16>(words, w, r)
          attended = Attention(heads, heads, heads)
          rows = Softmax(words)
          product = MatMul(words, weight)
        }""")
    weights = {"kernel": (16, 8, 3, 3), "weight": (8, 16), "w": (1, 64, 8), "r": (1, 64, 16)}
    for name, shape in weights.items():
        array = np.linspace(-1, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    artifact = compile_model(model, tmp_path / "m.ingot", recipe=UNVERIFIED)
    with Session(artifact.path) as session:
        for batch, height, length in [(0, 9, 5), (2, 0, 5), (2, 9, 0), (2, 9, 5)]:
            inputs = {
                "image": np.ones((batch, 8, height, 9), np.float32),
                "words": np.ones((length, batch, 8), np.float32),
                "heads": np.ones((batch, 4, length, 16), np.float32),
            }
            shapes = {name: array.shape for name, array in session.run(inputs).items()}
            assert shapes == {
                "pooled": (batch, 16, height, 9),
                "mean": (batch, 8, 1, 1),
                "states": (length, 1, batch, 16),
                "attended": (batch, 4, length, 16),
                "rows": (length, batch, 8),
                "product": (length, batch, 16),
            }
