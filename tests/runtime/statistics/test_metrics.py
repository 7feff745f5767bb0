"""An application's own metrics: what is counted, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from ingot.errors import UsageError
from ingot.runtime.statistics.metrics import MOST_SERIES, MetricRegistry, Sample


@pytest.fixture
def metrics() -> MetricRegistry:
    return MetricRegistry()


def test_a_counter_by_label(metrics: MetricRegistry) -> None:
    requests = metrics.counter("requests_total", "Requests.", labels=["route", "code"])
    requests.add(route="/a", code=200)
    requests.add(2.5, code=200, route="/a")
    requests.add(route="/b", code=500)
    [family] = metrics.collect()
    assert (family.name, family.kind, family.help) == ("requests", "counter", "Requests.")
    assert family.samples == (
        Sample("_total", (("route", "/a"), ("code", "200")), 3.5),
        Sample("_total", (("route", "/b"), ("code", "500")), 1.0),
    )


def test_without_labels_a_metric_is_there_from_the_beginning(metrics: MetricRegistry) -> None:
    metrics.counter("a", "")
    metrics.gauge("b", "").add(-2)
    metrics.histogram("c", "", buckets=[1])
    assert [[sample.value for sample in family.samples] for family in metrics.collect()] == [
        [0.0], [-2.0], [0, 0, 0, 0.0],
    ]  # fmt: skip


def test_a_gauge_goes_up_and_down(metrics: MetricRegistry) -> None:
    queue = metrics.gauge("queue", "", labels=["name"])
    queue.set(3, name="x")
    queue.add(-5, name="x")
    queue.set(math.inf, name="y")
    assert [sample.value for sample in metrics.collect()[0].samples] == [-2, math.inf]


def test_a_histogram_counts_up_to_its_bounds(metrics: MetricRegistry) -> None:
    sizes = metrics.histogram("sizes", "", buckets=[1, 4, math.inf])
    for size in (1, 2, 4, 9):
        sizes.observe(size)
    assert metrics.collect()[0].samples == (
        Sample("_bucket", (("le", "1.0"),), 1),
        Sample("_bucket", (("le", "4.0"),), 3),
        Sample("_bucket", (("le", "+Inf"),), 4),
        Sample("_count", (), 4),
        Sample("_sum", (), 16.0),
    )


def test_registering_alike_gives_the_same(metrics: MetricRegistry) -> None:
    assert metrics.counter("a", "") is metrics.counter("a_total", "")
    assert metrics.histogram("b", "", buckets=[1, 2]) is metrics.histogram("b", "", buckets=(1, 2))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.counter("1st", ""), "'1st' cannot be a metric's name"),
        (lambda m: m.gauge("ingot_inferences", ""), "ingot_ is for the session's own"),
        (lambda m: m.gauge("a", "", labels=["a-b"]), "'a-b' cannot be a label's name"),
        (lambda m: m.gauge("a", "", labels=["__a"]), "'__a' cannot be a label's name"),
        (lambda m: m.gauge("a", "", labels=["model"]), "'model' cannot be a label's name"),
        (lambda m: m.gauge("a", "", labels=["b", "b"]), "the same label twice"),
        (lambda m: m.histogram("a", "", buckets=[2, 1]), "have to ascend"),
        (lambda m: m.histogram("a", "", buckets=[]), "have to ascend"),
        (lambda m: m.counter("a", "").add(-1), "counter a cannot grow by -1"),
        (lambda m: m.counter("a", "").add(math.nan), "counter a cannot grow by nan"),
        (lambda m: m.histogram("a", "").observe(math.nan), "cannot count what is no number"),
        (lambda m: m.gauge("a", "", labels=["b"]).set(1), "takes the labels b; given: none"),
        (lambda m: m.gauge("a", "").set(1, c=2), "takes the labels none; given: c"),
        (lambda m: (m.counter("a", ""), m.gauge("a", "")), "registered already"),
        (lambda m: (m.counter("a", ""), m.gauge("a_total", "")), "registered already"),
        (lambda m: (m.gauge("a_sum", ""), m.histogram("a", "")), "registered already"),
        (lambda m: (m.gauge("a", ""), m.gauge("a", "", labels=["b"])), "registered already"),
    ],
)
def test_what_cannot_be_is_refused(
    metrics: MetricRegistry, call: Callable[[MetricRegistry], object], message: str
) -> None:
    with pytest.raises(UsageError) as refused:
        call(metrics)
    assert message in str(refused.value)


def test_labels_that_differ_by_request_are_refused_in_the_end(metrics: MetricRegistry) -> None:
    requests = metrics.counter("requests", "", labels=["id"])
    for index in range(MOST_SERIES):
        requests.add(id=index)
    with pytest.raises(UsageError, match="such as an id, cannot be a label"):
        requests.add(id="one more")
    requests.add(id=0)
    assert len(metrics.collect()[0].samples) == MOST_SERIES
