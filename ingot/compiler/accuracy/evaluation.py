"""A model's accuracy on labelled data, by ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from ingot.data import Dataset
from ingot.data.metrics import Metric
from ingot.reference.session import Array, Reference


def measure_accuracy(model: ir.Model, dataset: Dataset, metric: Metric) -> float:
    """Judges a model on all examples of a data set.

    Args:
        model: The model; ONNX Runtime optimizes it on its own, for speed.
        dataset: Labelled examples that fit the model's inputs.
        metric: What to judge by.

    Returns:
        The metric's value, in its unit.

    Raises:
        DataError: The data set has no labels, or they do not fit the model.
        ModelError: ONNX Runtime cannot load or run the model.
    """
    labels = dataset.labels
    predictions: list[Array] = []
    runner = Reference(model, optimize=True)
    for example in dataset:
        outputs = [runner.run(inputs) for inputs in example.inputs]
        if not predictions:
            metric.check(outputs, labels)
        predictions.append(metric.predict(outputs, example.label))
    return metric.aggregate(np.stack(predictions), labels)
