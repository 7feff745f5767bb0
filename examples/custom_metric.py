"""A metric of your own: the probability that the model gives to the right class.

A metric is a function of one example's outputs and its label; its value is the mean. On the command
line it is named by its file:
    ingot report cifar_resnet --metric examples/custom_metric.py:probability_of_label --metric top1

Run: python examples/custom_metric.py
"""

from __future__ import annotations

import numpy as np

import ingot
from ingot.data.metrics import Top1, UserMetric
from ingot.models.catalog import resolve


def probability_of_label(outputs: dict[str, np.ndarray], label: int) -> float:
    """The softmax probability of the labelled class, in percent."""
    scores = outputs["logits"].ravel().astype(np.float64)
    weights = np.exp(scores - scores.max())
    return float(100 * weights[int(label)] / weights.sum())


probability_of_label.unit = "%"  # type: ignore[attr-defined]
probability_of_label.higher_is_better = True  # type: ignore[attr-defined]


def main() -> None:
    """Compares Ingot with ONNX Runtime by this metric and by top-1."""
    model = resolve("cifar_resnet")
    report = ingot.compare(
        model.path,
        ["fp32"],
        model.default_dataset,
        preprocessing=model.preprocessing,
        metrics=[UserMetric(probability_of_label), Top1()],
        limit=200,
        runs=10,
    )
    for variant in report.variants:
        for metric in variant.metrics:
            low, high = metric.value.low, metric.value.high
            print(f"{variant.name}: {metric.name} {metric.value.value:.2f} {metric.unit}", end=" ")
            print(f"(95 % interval {low:.2f} to {high:.2f}, {metric.n} images)")


if __name__ == "__main__":
    main()
