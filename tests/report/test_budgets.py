"""Budgets in absolute numbers: what a file may say, and when one is broken."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingot.errors import UsageError
from ingot.models.reference import REFERENCE_MODELS
from ingot.report.budgets import Budget, check_budget, check_budget_possible, load_budget
from ingot.report.rendering.html import render_html
from ingot.report.rendering.markdown import render_markdown

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "targets.toml"


@pytest.fixture
def written(tmp_path):
    """Writes a file of budgets."""

    def write(text):
        path = tmp_path / "targets.toml"
        path.write_text(text)
        return path

    return write


class TestFile:
    def test_every_key_that_can_be_written(self, written):
        path = written(
            "[net]\nlatency_p50_ms = 10\nlatency_p99_ms = 15.5\nthroughput_per_s = 100\n"
            "memory_mb = 50\nsize_mb = 20\naccuracy_floor = 70\naccuracy_loss = 0\n"
            'accuracy_metric = "top1"\n["other.net"]\nsize_mb = 1\n'
        )
        budget = load_budget(path, "net")
        assert set(budget.model_dump(exclude_none=True)) == set(Budget.model_fields)
        assert (budget.latency_p99_ms, budget.accuracy_loss) == (15.5, 0.0)
        assert load_budget(path, "other.net") == Budget(size_mb=1.0)

    @pytest.mark.parametrize(
        ("model", "p50", "per_second", "memory"),
        [("mobilenetv2", 10, 100, 50), ("resnet50", 30, 30, 100), ("bert_base", 50, 20, 200)],
    )
    def test_the_example_has_the_seeds_of_the_field(self, model, p50, per_second, memory):
        assert model in REFERENCE_MODELS
        assert load_budget(EXAMPLE, model) == Budget(
            latency_p50_ms=p50, throughput_per_s=per_second, memory_mb=memory
        )

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "[net]\nlatency_p5_ms = 1",
                r"\[net\] has no key 'latency_p5_ms'; did you mean 'laten",
            ),
            ("[net]\nmemory_mib = 1", "has no key 'memory_mib'; did you mean 'memory_mb'"),
            ("[net]\nspeed_of_it_all = 1", "no key 'speed_of_it_all'; keys: latency_p50_ms, .*"),
            ("[nat]\nsize_mb = 1", "has no budgets for 'net'; did you mean 'nat'"),
            ("[xyzzy]\nsize_mb = 1", "no budgets for 'net'; models with budgets: xyzzy"),
            ("[net]\nsize_mb = 0", "key 'size_mb': .*greater than 0"),
            ("[net]\nsize_mb = nan", "key 'size_mb': .*finite number"),
            ("[net]\nsize_mb = true", "key 'size_mb': .*valid number"),
            ('[net]\nsize_mb = "9"', "key 'size_mb': .*valid number"),
            ("[net]\naccuracy_loss = -1", "key 'accuracy_loss': .*greater than or equal to 0"),
            ("[net]\n", "states no budget; keys are latency_p50_ms"),
            ('[net]\naccuracy_metric = "top1"', "states no budget"),
            ("[net]\nsize_mb = 1\n[other]\nsize = 2", r"\[other\] has no key 'size'; did you mean"),
            ("net = 3", r"\[net\] is no table"),
            ("", "states no budgets: write a table per model"),
            ("[net\n", "cannot be parsed: "),
            ("[net]\nsize_mb = 1\nsize_mb = 2", "cannot be parsed: "),
        ],
    )
    def test_what_is_wrong_is_one_line_that_names_the_place(self, written, text, message):
        path = written(text)
        with pytest.raises(UsageError, match=message) as caught:
            load_budget(path, "net")
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_missing_file_is_told(self, tmp_path):
        with pytest.raises(UsageError, match="cannot be read: No such file"):
            load_budget(tmp_path / "none.toml", "net")

    def test_bytes_that_are_no_text_are_told(self, tmp_path):
        path = tmp_path / "targets.toml"
        path.write_bytes(b"\xff\xfe")
        with pytest.raises(UsageError, match="cannot be parsed"):
            load_budget(path, "net")


class TestPossible:
    def test_a_tail_needs_enough_runs(self):
        budget = Budget(latency_p99_ms=9.0)
        check_budget_possible(budget, [], 100)
        with pytest.raises(UsageError, match="latency_p99_ms needs 100 runs or more: --runs 100"):
            check_budget_possible(budget, [], 99)

    @pytest.mark.parametrize("key", ["accuracy_floor", "accuracy_loss"])
    def test_accuracy_needs_labels_and_its_metric(self, key):
        budget = Budget(**{key: 0.5, "accuracy_metric": "top1"})
        check_budget_possible(budget, ["top-1"], 10)
        with pytest.raises(UsageError, match=f"the budget {key} needs labelled data"):
            check_budget_possible(budget, [], 10)
        with pytest.raises(UsageError, match="is of 'top1', which is not measured; measured are s"):
            check_budget_possible(budget, ["spearman"], 10)


def only(budget, variants, npu=(), batch=1):
    (check,) = check_budget(budget, variants, npu, batch)
    return check


class TestOutcome:
    """The made-up variant has a median of 4 ms, 3.92 to 4.08, 250 per second, 90 MB and 14 MB."""

    @pytest.fixture
    def variant(self, figures):
        metric = figures.metric(78.0, (-1.0, -1.5, -0.5))
        return figures.variant("Ingot fp32", "ingot", metrics=(metric,))

    @pytest.mark.parametrize(
        ("key", "limit", "outcome"),
        [
            ("latency_p50_ms", 5.0, "passed"),
            ("latency_p50_ms", 4.08, "passed"),
            ("latency_p50_ms", 4.05, "cannot be told"),
            ("latency_p50_ms", 3.95, "cannot be told"),
            ("latency_p50_ms", 3.9, "failed"),
            ("latency_p99_ms", 3.0, "failed"),
            ("throughput_per_s", 200.0, "passed"),
            ("throughput_per_s", 300.0, "failed"),
            ("memory_mb", 90.0, "passed"),
            ("memory_mb", 89.9, "failed"),
            ("size_mb", 14.0, "passed"),
            ("size_mb", 13.0, "failed"),
            ("accuracy_floor", 75.0, "passed"),
            ("accuracy_floor", 79.0, "cannot be told"),
            ("accuracy_floor", 81.0, "failed"),
            ("accuracy_loss", 1.5, "passed"),
            ("accuracy_loss", 1.0, "cannot be told"),
            ("accuracy_loss", 0.4, "failed"),
        ],
    )
    def test_is_decided_by_the_whole_interval(self, variant, key, limit, outcome):
        check = only(Budget(**{key: limit}), [variant])
        assert check.outcome == outcome
        assert check.rule == f"{key} = {limit:g}"
        assert check.failed is (outcome == "failed")

    def test_is_told_in_words(self, variant):
        assert only(Budget(latency_p50_ms=3.0), [variant]).explanation == (
            "latency_p50_ms of Ingot fp32 is 4 ms (95 % interval 3.92 to 4.08); wanted is at most 3"
        )
        assert only(Budget(accuracy_loss=0.2), [variant]).explanation == (
            "the loss of top-1 of Ingot fp32 is 1 points (95 % interval 0.5 to 1.5); "
            "wanted is at most 0.2"
        )

    def test_a_tail_that_so_few_runs_do_not_bound_cannot_be_told(self, variant):
        check = only(Budget(latency_p99_ms=1000.0), [variant])
        assert (check.outcome, check.high) == ("cannot be told", None)
        assert "upwards" in check.explanation
        rounds = tuple(variant.latency.rounds) * 5
        more = variant.latency.model_copy(update={"rounds": rounds, "runs": 500})
        longer = variant.model_copy(update={"latency": more})
        assert only(Budget(latency_p99_ms=1000.0), [longer]).outcome == "passed"

    def test_a_slow_model_that_ran_less_often_than_asked_says_so(self, variant):
        few = variant.latency.model_copy(update={"rounds": variant.latency.rounds[:3], "runs": 30})
        check = only(Budget(latency_p99_ms=9.0), [variant.model_copy(update={"latency": few})])
        assert check.outcome == "cannot be told"
        assert check.explanation == (
            "latency_p99_ms of Ingot fp32 cannot be told: 30 runs are too few"
        )

    def test_of_a_metric_of_which_lower_is_better_the_floor_is_the_most(self, figures):
        options = {"name": "error", "unit": "", "higher_is_better": False}
        metric = figures.metric(9.0, (0.5, 0.2, 0.8), **options)
        variant = figures.variant("Ingot int8", "ingot", metrics=(metric,))
        assert only(Budget(accuracy_floor=6.0), [variant]).outcome == "failed"
        assert only(Budget(accuracy_floor=12.0), [variant]).outcome == "passed"
        assert only(Budget(accuracy_loss=0.1), [variant]).outcome == "failed"
        assert only(Budget(accuracy_loss=0.9), [variant]).outcome == "passed"

    def test_throughput_counts_the_examples_of_a_batch(self, variant):
        assert only(Budget(throughput_per_s=300.0), [variant], batch=1).failed
        assert only(Budget(throughput_per_s=300.0), [variant], batch=8).outcome == "passed"

    def test_peers_are_held_to_nothing(self, figures, variant):
        peer = figures.variant()
        checks = check_budget(Budget(size_mb=1.0), [peer, variant], (), 1)
        assert [check.variant for check in checks] == ["Ingot fp32"]

    def test_the_reference_itself_has_no_loss(self, figures):
        reference = figures.variant("Ingot fp32", "ingot", metrics=(figures.metric(),))
        check = only(Budget(accuracy_loss=0.5), [reference])
        assert (check.failed, check.told) == (False, False)
        assert check.explanation.endswith("it is the reference itself")

    def test_what_is_for_an_npu_has_size_and_accuracy_alone(self, figures):
        budget = Budget(latency_p50_ms=1.0, size_mb=0.1, accuracy_loss=2.0)
        checks = check_budget(budget, (), [figures.npu()], 1)
        assert [check.outcome for check in checks] == ["cannot be told", "failed", "passed"]
        assert "it was not timed" in checks[0].explanation


@given(
    limit=st.floats(1.0, 10.0),
    seed=st.integers(0, 2**32 - 1),
    spread=st.floats(0.0, 0.5),
)
def test_at_most_one_of_broken_and_held_and_never_both_ways(figures, limit, seed, spread):
    """Of two budgets the looser one is never broken where the tighter one is not."""
    rng = np.random.default_rng(seed)
    rounds = tuple(tuple(4 * np.exp(rng.normal(0, spread, 10))) for _ in range(10))
    median = float(np.median(rounds))
    variant = figures.variant("Ingot fp32", "ingot", median=median)
    latency = variant.latency.model_copy(update={"rounds": rounds})
    variant = variant.model_copy(update={"latency": latency})
    ranks = {"failed": 0, "cannot be told": 1, "passed": 2}
    for key in ("latency_p50_ms", "latency_p99_ms"):
        tight = ranks[only(Budget(**{key: limit}), [variant]).outcome]
        loose = ranks[only(Budget(**{key: 1.3 * limit}), [variant]).outcome]
        assert tight <= loose


def test_the_pages_show_the_three_outcomes(figures):
    report = figures.report()
    budget = Budget(latency_p50_ms=2.0, size_mb=20.0, memory_mb=10.0)
    checks = check_budget(budget, report.variants, (), 1)
    assert [check.outcome for check in checks] == ["cannot be told", "failed", "passed"]
    full = report.model_copy(update={"checks": tuple(checks)})
    assert not full.passed
    text = render_markdown(full)
    for shown in ("❔ cannot be told | `latency_p50_ms = 2`", "❌ failed", "✅ passed"):
        assert shown in text
    page = render_html(full)
    for shown in ('<li class="open">', '<li class="bad">', '<li class="good">', "Cannot be told"):
        assert shown in page
