"""A server's figures for monitoring: requests, batches, waiting lines and memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ingot.runtime.statistics.metrics import Family, Kind, Sample
from ingot.runtime.statistics.process import resident_memory
from ingot.serving.models.counts import Counts
from ingot.serving.models.served_model import ServedModel

Labels = tuple[tuple[str, str], ...]


def server_metrics(models: Sequence[ServedModel], under_way: int) -> list[Family]:
    """The figures of all loaded models and of the process.

    Args:
        models: The models.
        under_way: Requests that have no answer yet.
    """
    found = [
        Family(
            "ingot_serve_requests",
            "counter",
            "Requests that were answered, by their outcome.",
            tuple(
                Sample("_total", (*_labels(model), ("outcome", outcome)), count)
                for model in models
                for outcome, count in (
                    ("success", model.counts.success.count),
                    ("failure", model.counts.fail.count),
                )
            ),
        ),
        _counter("request_seconds", "From arrival to answer.", models, lambda c: c.success.seconds),
        _counter("queue_seconds", "How long requests waited.", models, lambda c: c.queue.seconds),
        _counter("batches", "Batches that ran.", models, lambda c: c.executions),
        _counter("batch_rows", "Rows that ran.", models, lambda c: c.rows),
        _counter(
            "batch_seconds",
            "How long batches took.",
            models,
            lambda c: sum(duration.seconds for duration in list(c.batches.values())),
        ),
        Family(
            "ingot_serve_restarts",
            "counter",
            "Processes of the model that ended by themselves.",
            tuple(Sample("_total", _labels(model), model.restarts) for model in models),
        ),
        Family(
            "ingot_serve_waiting_requests",
            "gauge",
            "Requests that wait for their batch.",
            tuple(Sample("", _labels(model), model.waiting) for model in models),
        ),
        Family(
            "ingot_serve_requests_under_way",
            "gauge",
            "Requests that have no answer yet.",
            (Sample("", (), under_way),),
        ),
    ]
    try:
        now, peak = resident_memory()
    except OSError:  # not Linux: the figure is left out
        return found
    return [*found, _memory("", "now", now), _memory("_peak", "at most", peak)]


def _counter(
    name: str, said: str, models: Sequence[ServedModel], value: Callable[[Counts], float]
) -> Family:
    kind: Kind = "counter"
    unit = "seconds" if name.endswith("_seconds") else ""
    samples = tuple(Sample("_total", _labels(model), value(model.counts)) for model in models)
    return Family(f"ingot_serve_{name}", kind, said, samples, unit)


def _memory(name: str, when: str, value: int) -> Family:
    return Family(
        f"ingot_serve_resident_memory{name}_bytes",
        "gauge",
        f"Memory of the server, {when}.",
        (Sample("", (), value),),
        "bytes",
    )


def _labels(model: ServedModel) -> Labels:
    return (("model", model.name), ("version", model.version))
