"""A model's accuracy on labelled data, by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from ingot.data import Dataset
from ingot.data.metrics import Metric
from ingot.reference.session import Array, Reference


def predictions(model: ir.Model, dataset: Dataset, metrics: Sequence[Metric]) -> list[Array]:
    """Runs a model on all examples of a data set.

    Args:
        model: The model; ONNX Runtime optimizes it on its own, for speed.
        dataset: Labelled examples that fit the model's inputs.
        metrics: What the outputs are summarized by.

    Returns:
        For each metric its predictions [examples, ...].

    Raises:
        DataError: The data set has no labels, or they do not fit the model.
        ModelError: ONNX Runtime cannot load or run the model.
    """
    labels = dataset.labels
    taken: list[list[Array]] = [[] for _ in metrics]
    runner = Reference(model, optimize=True)
    for index, example in enumerate(dataset):
        outputs = [runner.run(inputs) for inputs in example.inputs]
        for metric, found in zip(metrics, taken, strict=True):
            if index == 0:
                metric.check(outputs, labels)
            found.append(metric.predict(outputs, example.label))
    return [np.stack(found) for found in taken]


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
    (found,) = predictions(model, dataset, [metric])
    return metric.aggregate(found, dataset.labels)
