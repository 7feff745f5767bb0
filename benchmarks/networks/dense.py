"""Networks of fully connected layers alone, so small that a call is most of what they take.

The autoencoder is that of MLPerf Tiny's anomaly detection: Purohit et al., "MIMII Dataset" (2019).
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx

from benchmarks.networks.images import ImageWriter


@dataclasses.dataclass(frozen=True)
class Perceptron:
    """A network's sizes.

    Attributes:
        features: Of a row.
        hidden: Features of the layers between, each with a Relu.
        results: Of a row.
        batch: Rows at once; open where it is a name.
        seed: Of the weights.
    """

    features: int = 64
    hidden: tuple[int, ...] = (128, 128)
    results: int = 10
    batch: int | str = 1
    seed: int = 0

    def build(self) -> onnx.ModelProto:
        """The model: ``rows`` to ``results``."""
        graph = ImageWriter("perceptron", opset=17, seed=self.seed)
        x = graph.input("rows", np.float32, [self.batch, self.features])
        inputs = self.features
        for width in self.hidden:
            x, inputs = graph.dense(x, inputs, width, "Relu"), width
        x = graph.dense(x, inputs, self.results)
        graph.output("results", x, [self.batch, self.results])
        return graph.model()


AUTOENCODER = {"features": 640, "hidden": (128, 128, 128, 128, 8, 128, 128, 128, 128),
               "results": 640}  # fmt: skip
