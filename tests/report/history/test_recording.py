"""What of a report and of a benchmark goes into the history."""

import pytest

from ingot.report.history.recording import runs_of_bench, runs_of_report
from tests.benchmarks.rows import row


def values(run):
    return {found.quantity: found.value for found in run.figures}


class TestReport:
    def test_every_variant_that_ingot_made_is_a_run_of_all_that_was_measured(self, figures):
        (run,) = runs_of_report(figures.report(), "abc")
        assert (run.model, run.recipe, run.target) == ("net", "fp32", "cpu:mcpu=znver3")
        assert run.setting == "report, threads=2 x=1x3x8x8, beside onnxruntime"
        assert run.commit == "abc"
        found = values(run)
        assert found["latency_p50_ms"] == 2.0
        assert found["memory_mb"] == 90.0
        assert found["size_mb"] == 14.0
        assert found["speed_x"] == 2.0
        assert found["accuracy top-1"] == 79.0
        assert {"latency_p99_ms", "throughput_per_s"} < set(found)
        assert run.facts["versions"] == {"onnxruntime": "1.2.3"}

    def test_a_metric_is_comparable_on_the_same_data_alone(self, figures):
        bases = set()
        report = figures.report()
        for digest in ("ab", "cd"):
            data = report.data.model_copy(update={"sha256": digest})
            (run,) = runs_of_report(report.model_copy(update={"data": data}), None)
            bases |= {f.basis for f in run.figures if f.quantity == "accuracy top-1"}
            assert {f.basis for f in run.figures if f.quantity == "latency_p50_ms"} == {""}
        assert bases == {"1300 examples, ab", "1300 examples, cd"}

    def test_a_metric_without_a_value_is_left_out(self, figures):
        metric = figures.metric(float("nan"))
        variant = figures.variant("Ingot fp32", "ingot", metrics=(metric,), build=figures.build())
        report = figures.report(variants=(figures.variant(), variant))
        (run,) = runs_of_report(report, None)
        assert "accuracy top-1" not in values(run)

    def test_what_is_for_an_npu_has_no_times(self, figures):
        _, run = runs_of_report(figures.report(npu=(figures.npu(),)), None)
        assert run.target == "npu:ethos-u55-256"
        assert values(run) == {"size_mb": 0.4, "accuracy top-1": 78.5}

    def test_the_tail_of_few_runs_has_no_upper_end(self, figures):
        (run,) = runs_of_report(figures.report(), None)
        (tail,) = (found for found in run.figures if found.quantity == "latency_p99_ms")
        assert tail.high is None
        assert tail.low <= tail.value


class TestBench:
    @pytest.fixture
    def machine(self, figures):
        return figures.report().machine

    def test_a_row_is_a_run(self, machine, figures):
        latency = figures.variant().latency
        entry = row(1.5).model_copy(
            update={
                "recipe": "int8",
                "target": "cpu:mcpu=znver3",
                "peers": {"openvino": 1.5, "onnxruntime": 2.0},
                "latency": {"ingot": latency},
            }
        )
        (run,) = runs_of_bench([entry], machine, ["y=1x2", "x=1x3"], None)
        assert (run.model, run.recipe, run.target) == ("net", "int8", "cpu:mcpu=znver3")
        assert run.setting == "bench, threads=1 batch=1 x=1x3 y=1x2, beside onnxruntime, openvino"
        found = values(run)
        assert found["latency_p50_ms"] == latency.median.value
        assert found["speed_x"] == entry.ratio
        assert found["memory_mb"] == pytest.approx(entry.peak_rss_mb)

    def test_without_peers_there_is_no_speed_beside_them(self, machine):
        (run,) = runs_of_bench([row(None)], machine, [], None)
        assert "speed_x" not in values(run)
        assert "beside" not in run.setting
