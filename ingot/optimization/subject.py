"""What is optimized: a model, and the data that it is judged, timed and calibrated on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from ingot.compiler.data import open_model_data
from ingot.compiler.ingest import ingest
from ingot.data import Dataset
from ingot.data.base import Array
from ingot.data.metrics import Metric, metric_by_name
from ingot.data.preprocessing import Preprocessing
from ingot.report.evaluate import choose_metrics
from ingot.report.examples import Examples

# Of labelled data, so many examples calibrate where nothing else is given: ranges and errors of
# layers hardly change with more.
_CALIBRATING = 128


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is optimized, and what it is judged on.

    Attributes:
        model: The ONNX file.
        digest: Of its content, external data included.
        shapes: What symbolic dimensions are bound to.
        data: Labelled examples, or None: accuracy is not judged then.
        metric: What accuracy means; None without data.
        timed: The inputs that inferences are timed on.
        calibration: What quantization is calibrated with.
    """

    model: Path
    digest: str
    shapes: dict[str, tuple[int, ...]]
    data: Dataset | None
    metric: Metric | None
    timed: dict[str, Array]
    calibration: Dataset | None


def open_subject(
    model: Path,
    data: Dataset | str | Path | None,
    metric: str | None,
    preprocessing: Preprocessing | None,
    calibration: Dataset | str | Path | None,
    limit: int | None,
    shapes: Mapping[str, Sequence[int]] | None,
) -> tuple[Subject, list[str]]:
    """Opens a model's data.

    Args:
        model: The ONNX file.
        data: Labelled examples, or None.
        metric: What accuracy means; by default what fits the data.
        preprocessing: How data becomes the model's inputs; by default what the model carries.
        calibration: What quantization is calibrated with; by default some of the data.
        limit: The most examples to judge by.
        shapes: What symbolic dimensions are bound to.

    Returns:
        The subject, and notes on what was taken for what.

    Raises:
        DataError: The data is missing, damaged or does not fit.
    """
    source = ingest(model, shapes=shapes, simplified=False)

    def opened(
        what: Dataset | str | Path, most: int | None, ignore_labels: bool = False
    ) -> Dataset:
        return open_model_data(
            what, source.original, model.parent, preprocessing=preprocessing, limit=most,
            ignore_labels=ignore_labels,
        )  # fmt: skip

    notes: list[str] = []
    labelled = None if data is None else opened(data, limit)
    wanted = None if metric is None else [metric_by_name(metric)]
    metrics, _ = choose_metrics(wanted, labelled)
    chosen: Metric | None = metrics[0] if metrics else None
    samples = None if calibration is None else opened(calibration, None, True)
    if samples is None and data is not None:
        samples = opened(data, _CALIBRATING, True)
        notes.append(
            f"Calibrated with {len(samples)} of the examples that it was judged on: give others "
            "with --calibration."
        )
    bound = {name: tuple(shape) for name, shape in (shapes or {}).items()}
    timed = Examples(labelled, source, shapes).timed
    return Subject(model, source.sha256, bound, labelled, chosen, timed, samples), notes
