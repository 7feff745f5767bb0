"""Non-maximum suppression is run by ONNX Runtime, what is around it by compiled code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import parser

import ingot
from ingot.reference.session import Reference


def test_suppression_is_a_region(tmp_path: Path) -> None:
    model = parser.parse_model("""<ir_version: 8, opset_import: ["" : 17]>
        g (float[1, 6, 4] boxes, float[1, 2, 6] logits) => (int64[n, 3] selected) {
          most = Constant<value = int64[1] {2}>()
          overlap = Constant<value = float[1] {0.5}>()
          threshold = Constant<value = float[1] {0.4}>()
          scores = Sigmoid(logits)
          selected = NonMaxSuppression(boxes, scores, most, overlap, threshold)
        }""")
    artifact = ingot.compile(model, tmp_path / "detector.ingot")
    assert len(artifact.manifest.regions) == 1
    generator = np.random.default_rng(0)
    corners = generator.random((1, 6, 2), np.float32)
    inputs = {
        "boxes": np.concatenate([corners, corners + 1], axis=2),
        "logits": generator.normal(size=(1, 2, 6)).astype(np.float32),
    }
    expected = Reference(model).run(inputs)
    with artifact.session() as session:
        np.testing.assert_array_equal(session.run(inputs)["selected"], expected["selected"])
