"""Rules for build pipelines: what can be written, and when one fails."""

import pytest

from ingot.errors import UsageError
from ingot.report.thresholds import check_possible, check_thresholds, parse_threshold


@pytest.mark.parametrize(
    ("rule", "quantity", "comparison", "limit"),
    [
        ("latency>1.1x", "latency", ">", 1.1),
        (" p99 >= 2x ", "p99", ">=", 2.0),
        ("throughput<0.9x", "throughput", "<", 0.9),
        ("memory > 1.25 x", "memory", ">", 1.25),
        ("size>2x", "size", ">", 2.0),
        ("accuracy<-0.5", "accuracy", "<", -0.5),
        ("top-1<=-0.5", "top1", "<=", -0.5),
        ("Spearman<-1", "spearman", "<", -1.0),
    ],
)
def test_rules_that_can_be_written(rule, quantity, comparison, limit):
    threshold = parse_threshold(rule)
    assert (threshold.quantity, threshold.comparison, threshold.limit) == (
        quantity,
        comparison,
        limit,
    )


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("latency", "cannot be read: write a quantity, a comparison and a number"),
        ("latency>fast", "cannot be read"),
        ("latency=1.1x", "cannot be read"),
        ("", "cannot be read"),
        ("latency>1.1", r'latency is a ratio to the reference; end it in "x"'),
        ("accuracy<-0.5x", r'accuracy is a difference from the reference; leave the "x" out'),
        ("speed<1x", r"ratios are latency, p95, p99, memory, size, throughput"),
    ],
)
def test_a_malformed_rule_says_what_is_possible(rule, message):
    with pytest.raises(UsageError, match=message) as caught:
        parse_threshold(rule)
    assert "\n" not in str(caught.value)


class TestPossible:
    def test_accuracy_needs_labelled_data(self):
        with pytest.raises(UsageError, match="needs labelled data: add --data"):
            check_possible([parse_threshold("accuracy<-0.5")], [], 100)

    def test_a_metric_has_to_be_measured(self):
        with pytest.raises(UsageError, match=r"possible are latency, .*accuracy, top1"):
            check_possible([parse_threshold("spearman<-0.5")], ["top-1"], 100)
        check_possible([parse_threshold("top1<-0.5")], ["top-1"], 100)

    @pytest.mark.parametrize(("rule", "runs"), [("p99>2x", 100), ("p95>2x", 20)])
    def test_a_tail_needs_enough_runs(self, rule, runs):
        check_possible([parse_threshold(rule)], [], runs)
        with pytest.raises(UsageError, match=f"needs {runs} runs or more: add --runs {runs}"):
            check_possible([parse_threshold(rule)], [], runs - 1)


@pytest.fixture
def variants(figures):
    reference = figures.variant(metrics=(figures.metric(79.0),))
    slower = figures.variant(
        "Ingot int8",
        "ingot",
        median=5.0,
        size_bytes=7_000_000,
        speed={"value": 0.8, "low": 0.75, "high": 0.85},
        metrics=(figures.metric(78.4, (-0.6, -1.0, -0.2)),),
    )
    return [reference, slower]


@pytest.mark.parametrize(
    ("rule", "value", "failed"),
    [
        ("latency>1.1x", 1.25, True),
        ("latency>1.3x", 1.25, False),
        ("latency>=1.25x", 1.25, True),
        ("p95>1.2x", 1.25, True),
        ("size>0.6x", 0.5, False),
        ("memory>1x", 1.0, False),
        ("throughput<0.9x", 0.8, True),
        ("accuracy<-0.5", -0.6, True),
        ("accuracy<-1", -0.6, False),
        ("top1<-0.5", -0.6, True),
    ],
)
def test_the_point_estimate_decides(variants, rule, value, failed):
    (check,) = check_thresholds([parse_threshold(rule)], variants)
    assert check.value == pytest.approx(value)
    assert check.failed is failed
    assert check.variant == "Ingot int8"


def test_the_interval_is_told(variants):
    (check,) = check_thresholds([parse_threshold("latency>1.1x")], variants)
    assert (check.low, check.high) == (pytest.approx(1 / 0.85), pytest.approx(1 / 0.75))
    assert check.explanation == (
        "latency of Ingot int8 is 1.25x the reference's (95 % interval 1.18x to 1.33x)"
    )


def test_what_cannot_be_told_fails(variants, figures):
    few = variants[1].model_copy(
        update={"latency": variants[1].latency.model_copy(update={"p99": None, "runs": 40})}
    )
    (check,) = check_thresholds([parse_threshold("p99>9x")], [variants[0], few])
    assert check.failed
    assert "cannot be told from 40 runs" in check.explanation


def test_peers_are_not_held_to_rules(variants, figures):
    peer = figures.variant("OpenVINO fp32", "openvino", speed={"value": 0.1, "low": 0.1, "high": 1})
    checks = check_thresholds([parse_threshold("latency>1.1x")], [*variants, peer])
    assert [check.variant for check in checks] == ["Ingot int8"]


def test_for_a_metric_where_lower_is_better_worse_is_still_negative(figures):
    reference = figures.variant(metrics=(figures.metric(1.0, name="error"),))
    worse = figures.variant(
        "Ingot int8",
        "ingot",
        speed={"value": 1, "low": 1, "high": 1},
        metrics=(figures.metric(1.7, (0.7, 0.5, 0.9), name="error", higher_is_better=False),),
    )
    (check,) = check_thresholds([parse_threshold("accuracy<-0.5")], [reference, worse])
    assert (check.value, check.low, check.high, check.failed) == (-0.7, -0.9, -0.5, True)
