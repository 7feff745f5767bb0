"""What a model is judged by, on paired predictions.

A metric keeps a small summary of each example's outputs, so that two variants of a model can be
compared example by example without holding their outputs.
"""

from __future__ import annotations

import abc
import hashlib
import importlib
import importlib.util
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ingot.errors import DataError, UsageError

Array: TypeAlias = npt.NDArray[Any]
# How far the sum of probabilities in float32, or 8 bits, may be from one.
_SUM_TOLERANCE = 0.02
Outputs: TypeAlias = Sequence[dict[str, Array]]


class Metric(abc.ABC):
    """One figure for how right a model is on labelled data.

    Attributes:
        name: For tables and options ("top-1").
        unit: Of the value ("%").
        higher_is_better: The direction.
    """

    name: str
    unit: str = "%"
    higher_is_better: bool = True

    @abc.abstractmethod
    def predict(self, outputs: Outputs, label: float | None = None) -> Array:
        """Summarizes the outputs of one example's inferences.

        Args:
            outputs: One dict of output name to array (batch axis included) per inference.
            label: The example's label, for a metric that scores at once.

        Returns:
            A small array, of the same shape for every example.

        Raises:
            DataError: The outputs are not of the kind that the metric reads.
        """

    @abc.abstractmethod
    def aggregate(self, predictions: Array, labels: Array) -> float:
        """The metric's value for predictions [examples, ...] against labels [examples]."""

    def per_example(
        self,
        predictions: Array,  # noqa: ARG002 - for metrics that are means
        labels: Array,  # noqa: ARG002
    ) -> npt.NDArray[np.float64] | None:
        """Scores whose mean is the value, [examples]; None when the metric is no mean."""
        return None

    def finer(self) -> Metric | None:
        """What moves with this metric and tells small differences apart; None where nothing does.

        Its values have the same unit, and its differences are about as large.
        """
        return None

    def check(self, outputs: Outputs, labels: Array) -> None:  # noqa: B027 - optional
        """Refuses labels that the model cannot give, seen from one example's outputs.

        Raises:
            DataError: The labels do not fit the model.
        """


class TopK(Metric):
    """The share of examples whose class is among the k highest scores of the first output."""

    def __init__(self, k: int) -> None:
        """Takes k, the number of guesses."""
        self.k = k
        self.name = f"top-{k}"

    def predict(self, outputs: Outputs, label: float | None = None) -> Array:  # noqa: ARG002
        """The k classes with the highest scores, best first, int64 [k].

        Ties go to the lower class index. Missing classes (fewer than k) are -1; a score that is
        no number is never a guess.
        """
        scores = _class_scores(outputs, self.name)
        ranked = np.argsort(np.where(np.isnan(scores), math.inf, -scores), kind="stable")
        ranked = ranked[~np.isnan(scores[ranked])][: self.k]
        guesses = np.full(self.k, -1, dtype=np.int64)
        guesses[: len(ranked)] = ranked
        return guesses

    def aggregate(self, predictions: Array, labels: Array) -> float:
        """The share in percent."""
        return float(self.per_example(predictions, labels).mean())

    def per_example(self, predictions: Array, labels: Array) -> npt.NDArray[np.float64]:
        """100 where the class is among the guesses, 0 elsewhere."""
        hits = (predictions == np.asarray(labels)[:, np.newaxis]).any(axis=1)
        return np.asarray(hits, dtype=np.float64) * 100.0

    def finer(self) -> Metric:
        """The probability of the label, which moves before the class with the highest one does."""
        return LabelProbability()

    def check(self, outputs: Outputs, labels: Array) -> None:
        """Refuses labels that are no class of the model."""
        check_class_labels(labels, _class_scores(outputs, self.name).size, "the data")


class LabelProbability(Metric):
    """The mean probability that a classifier gives to the right class, in percent.

    Of a classifier that is as sure as it is right, it is the top-1 accuracy in expectation; its
    differences between two variants of a model vary far less, since they count by how much an
    example is nearer to being wrong and not only the few that cross over.
    """

    name = "probability of the label"

    def predict(self, outputs: Outputs, label: float | None = None) -> Array:
        """The probability of the label, float64 scalar; scores that are none go through softmax."""
        scores = _class_scores(outputs, self.name)
        if label is None:
            raise DataError(f"the {self.name} needs a label")
        if scores.min() < 0.0 or abs(float(scores.sum()) - 1.0) > _SUM_TOLERANCE:
            scores = np.exp(scores - scores.max())
            scores /= scores.sum()
        return np.asarray(scores[int(label)], dtype=np.float64)

    def aggregate(self, predictions: Array, labels: Array) -> float:
        """The mean in percent."""
        return float(self.per_example(predictions, labels).mean())

    def per_example(
        self,
        predictions: Array,
        labels: Array,  # noqa: ARG002 - the prediction saw them
    ) -> npt.NDArray[np.float64]:
        """The probabilities in percent."""
        return np.asarray(predictions, dtype=np.float64) * 100.0


class Top1(TopK):
    """Top-1 accuracy in percent."""

    def __init__(self) -> None:
        super().__init__(1)


class Top5(TopK):
    """Top-5 accuracy in percent."""

    def __init__(self) -> None:
        super().__init__(5)


class Spearman(Metric):
    """Spearman's rank correlation (times 100) of the cosine of two embeddings with a score.

    Spearman, "The proof and measurement of association between two things", 1904; ties take
    their mean rank. The figure that sentence-embedding models are quoted with on STS-B.
    """

    name = "spearman"
    unit = ""

    def __init__(self, pool: Callable[[Array], Array] | None = None) -> None:
        """Takes how hidden states become an embedding; None flattens the first output."""
        self._pool = pool if pool is not None else np.ravel

    def predict(self, outputs: Outputs, label: float | None = None) -> Array:  # noqa: ARG002
        """The cosine of the two embeddings, float64 scalar."""
        if len(outputs) != 2:
            raise DataError(
                f"spearman needs two sentences per example, this data has {len(outputs)}; "
                "use a .csv of sentence, sentence, score"
            )
        first, second = (
            np.asarray(self._pool(next(iter(output.values()))), np.float64) for output in outputs
        )
        norm = float(np.linalg.norm(first) * np.linalg.norm(second))
        return np.asarray(float(first @ second) / norm if norm > 0 else 0.0)

    def aggregate(self, predictions: Array, labels: Array) -> float:
        """The correlation times 100; 0 where either side does not vary."""
        ranks, label_ranks = _ranks(predictions), _ranks(labels)
        if np.ptp(ranks) == 0 or np.ptp(label_ranks) == 0:
            return 0.0
        return float(np.corrcoef(ranks, label_ranks)[0, 1] * 100.0)


class UserMetric(Metric):
    """The mean of a user's own function of one example: ``f(outputs, label) -> float``.

    ``outputs`` is the dict of output name to array of the example's inference (or a list of them
    when an example takes more than one). The function may carry the attributes ``unit`` (default
    none) and ``higher_is_better`` (default True).
    """

    def __init__(self, function: Callable[..., float], name: str | None = None) -> None:
        """Takes the function and the name to show."""
        self._function = function
        self.name = name or str(getattr(function, "__name__", "metric"))
        self.unit = str(getattr(function, "unit", ""))
        self.higher_is_better = bool(getattr(function, "higher_is_better", True))

    def predict(self, outputs: Outputs, label: float | None = None) -> Array:
        """The function's score of one example, float64 scalar."""
        try:
            score = float(self._function(outputs[0] if len(outputs) == 1 else list(outputs), label))
        except Exception as error:  # the user's code may raise anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise DataError(f"the metric {self.name!r} failed on an example: {reason}") from error
        if not math.isfinite(score):
            raise DataError(f"the metric {self.name!r} gave {score} for an example, no number")
        return np.asarray(score, dtype=np.float64)

    def aggregate(self, predictions: Array, labels: Array) -> float:
        """The mean score."""
        return float(self.per_example(predictions, labels).mean())

    def per_example(
        self,
        predictions: Array,
        labels: Array,  # noqa: ARG002 - the function saw them
    ) -> npt.NDArray[np.float64]:
        """The scores themselves."""
        return np.asarray(predictions, dtype=np.float64)


def metric_by_name(spec: str) -> Metric:
    """Makes a metric from what a user writes.

    Args:
        spec: ``top1``, ``top5``, ``spearman``, or a user's function as ``module:function`` or
            ``path/to/file.py:function``. A ``Metric`` (class or instance) may stand in its place.

    Raises:
        UsageError: The name is unknown, or the function cannot be loaded.
    """
    built_in: dict[str, type[Metric]] = {"top1": Top1, "top5": Top5, "spearman": Spearman}
    plain = spec.lower().replace("-", "")
    if plain in built_in:
        return built_in[plain]()
    source, separator, attribute = spec.rpartition(":")
    if not separator or not source or not attribute:
        raise UsageError(
            f"no metric {spec!r}; possible are {', '.join(built_in)}, or a function of your own "
            "as module:function or file.py:function"
        )
    found = getattr(_import_source(spec, source), attribute, None)
    if isinstance(found, Metric):
        return found
    if isinstance(found, type) and issubclass(found, Metric):
        return found()
    if not callable(found) or isinstance(found, type):
        raise UsageError(
            f"the metric {spec!r} cannot be used: {source} has no function {attribute!r}"
        )
    return UserMetric(found, attribute)


def check_class_labels(labels: Array, classes: int | None, where: str) -> None:
    """Refuses labels that are no class indices of a model with ``classes`` classes.

    Raises:
        DataError: A label is no integer, negative, or beyond the last class.
    """
    labels = np.asarray(labels)
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"the labels of {where} are {labels.dtype}, not integer class indices")
    if labels.size and int(labels.min()) < 0:
        raise DataError(f"label {int(labels.min())} in {where} is negative, no class index")
    if classes is not None and labels.size and int(labels.max()) >= classes:
        raise DataError(
            f"label {int(labels.max())} in {where} is out of range: the model has {classes:,} "
            f"classes (0 to {classes - 1}); check that the labels are the model's"
        )


def _class_scores(outputs: Outputs, metric: str) -> npt.NDArray[np.float64]:
    scores = np.asarray(next(iter(outputs[0].values())))
    if scores.size < 2 or scores.size != max(scores.shape):
        raise DataError(
            f"{metric} needs one score per class in the model's first output, which has the shape "
            f"{list(scores.shape)}; choose another metric"
        )
    return scores.reshape(-1).astype(np.float64)


def _ranks(values: Array) -> npt.NDArray[np.float64]:
    """Ranks from 0, ties at their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts + 1) / 2.0)[inverse.reshape(-1)], dtype=np.float64)


def _import_source(spec: str, source: str) -> ModuleType:
    try:
        if not source.endswith(".py"):
            return importlib.import_module(source)
        # A name of its own per file, so that two files of one name do not shadow each other.
        digest = hashlib.sha256(str(Path(source).resolve()).encode()).hexdigest()
        found = importlib.util.spec_from_file_location(f"ingot_user_metric_{digest[:16]}", source)
        if found is None or found.loader is None:
            raise ImportError(f"{source} is no Python file")
        module = importlib.util.module_from_spec(found)
        found.loader.exec_module(module)
        return module
    except (Exception, SystemExit) as error:  # the user's module may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"the metric {spec!r} cannot be loaded: {reason}") from error
