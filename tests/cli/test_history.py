"""``ingot history`` as it is called, and slowness that is injected where it is measured."""

import dataclasses
import json

import onnx
import pytest

from ingot.compiler.artifact_writer import write_artifact
from ingot.compiler.build import compile_model
from ingot.report.history.database import prepare_history, read_history, record
from ingot.report.history.runs import kind_of_machine
from ingot.report.machine import machine_facts
from ingot.runtime import ArtifactReader
from tests.report.conftest import save_classifier
from tests.report.history.conftest import make_found, make_run

BEFORE = [10.0, 10.1, 9.9, 10.05, 9.95, 10.02, 9.98, 10.1]


@pytest.fixture
def database(tmp_path):
    return tmp_path / "history.db"


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    """A linear classifier, compiled: some microseconds of work."""
    model = tmp_path_factory.mktemp("tiny") / "tiny.onnx"
    save_classifier(model)
    return compile_model(onnx.load(model), model.with_suffix(".ingot")).path


def recorded(database, values, **changes):
    """Records a run on this kind of machine for each value of the median."""
    machine = kind_of_machine(machine_facts())
    runs = [
        make_run(make_found(value=value), make_found("size_mb", 3.0), machine=machine, **changes)
        for value in values
    ]
    record(database, runs)


class TestCheck:
    @pytest.mark.parametrize(
        ("value", "code", "told"),
        [(11.5, 1, "worse net fp32"), (10.1, 0, "as before net"), (8.7, 0, "better net fp32")],
    )
    def test_only_what_became_worse_fails_a_build(self, ingot, database, value, code, told):
        recorded(database, [*BEFORE, value])
        outcome = ingot("history", "check", "--db", database)
        assert outcome.code == code
        assert f"{told}" in outcome.out
        assert "latency_p50_ms: " in outcome.out
        assert "size_mb: 3 MB, usual is 3 over 8 runs: the same" in outcome.out

    def test_the_findings_as_json(self, ingot, database):
        recorded(database, [*BEFORE, 11.5], commit="abc")
        outcome = ingot("history", "check", "--db", database, "--json", "--model", "net")
        assert outcome.code == 1
        latency, size = json.loads(outcome.out)
        assert (latency["quantity"], latency["outcome"]) == ("latency_p50_ms", "worse")
        assert latency["change"] > latency["worse_from"] >= 0.03
        assert (latency["commit"], latency["run"], latency["earlier_runs"]) == ("abc", 9, 8)
        assert (size["outcome"], size["change"]) == ("as before", 0.0)

    def test_the_options_reach_the_test(self, ingot, database):
        recorded(database, [*BEFORE, 11.5])
        for option in (["--min-change", 30], ["--runs", 4]):
            assert ingot("history", "check", "--db", database, *option).code == 0
        few = ingot("history", "check", "--db", database, "--runs", 4)
        assert "not enough runs net fp32" in few.out
        assert "5 earlier runs to hold it against" in few.out

    def test_tails_are_checked_when_asked_for(self, ingot, database):
        machine = kind_of_machine(machine_facts())
        figures = [make_found("latency_p99_ms", value) for value in [*BEFORE, 20.0]]
        record(database, [make_run(make_found(), tail, machine=machine) for tail in figures])
        assert ingot("history", "check", "--db", database).code == 0
        outcome = ingot("history", "check", "--db", database, "--tails")
        assert outcome.code == 1
        assert "worse net fp32 (bench, threads=2 batch=1), latency_p99_ms: 20 ms" in outcome.out

    def test_other_machines_are_checked_when_asked_for(self, ingot, database):
        values = [make_found(value=value) for value in [*BEFORE, 11.5]]
        record(database, [make_run(found, machine="far away") for found in values])
        outcome = ingot("history", "check", "--db", database)
        assert (outcome.code, "nothing was recorded on this kind" in outcome.error) == (1, True)
        assert "worse net" in ingot("history", "check", "--db", database, "--any-machine").out


class TestList:
    def test_the_newest_runs_with_their_figures(self, ingot, database):
        recorded(database, BEFORE, commit="0123456789ab", model="x[/red]")
        outcome = ingot("history", "--db", database, "--last", 2)
        assert outcome.code == 0
        rows = [line for line in outcome.out.splitlines() if "x[/red]" in line]
        assert [line.split()[0] for line in rows] == ["7", "8"]
        assert rows[1].split()[-5:] == ["10.1", *["\N{EN DASH}"] * 3, "3"]
        assert "0123456789ab" in rows[1]
        assert f"on {kind_of_machine(machine_facts())}: 7, 8" in outcome.out

    def test_as_json_with_all_figures(self, ingot, database):
        recorded(database, BEFORE)
        runs = json.loads(ingot("history", "--db", database, "--json").out)
        assert [run["number"] for run in runs] == list(range(1, 9))
        assert runs[0]["figures"][0]["quantity"] == "latency_p50_ms"


def test_the_plot_is_written(ingot, database, tmp_path):
    recorded(database, [*BEFORE, 11.5])
    outcome = ingot("history", "plot", "--db", database, "-o", tmp_path / "history.html")
    assert outcome.code == 0
    text = (tmp_path / "history.html").read_text()
    assert text.count("<svg") == 2
    assert "<b>Worse</b>" in text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--db", "none.db"], 1, "there is no history none.db"),
        (["check", "--db", "none.db"], 1, "there is no history none.db"),
        (["check", "--db", "here.db", "--model", "nat"], 2, "has no run of 'nat'"),
        (["check", "--db", "here.db", "--runs", "0"], 2, "0 runs cannot be judged"),
        (["check", "--db", "here.db", "--against", "3"], 2, "3 earlier runs cannot tell"),
        (["check", "--db", "here.db", "--false-alarms", "0"], 2, "false alarms in 0 %"),
        (["check", "--db", "here.db", "--min-change", "-1"], 2, "a change of -1 %"),
        (["check", "--db", "here.db", "--since", "1999"], 2, "no run of this history is since"),
        (["--db", "here.db", "check"], 2, "put the options behind `ingot history check`"),
        (["plot", "--db", "here.db", "-o", "here.db"], 2, "which is read"),
        (["plot", "--db", "here.db", "-o", "none/page.html"], 2, "does not exist"),
        (["check", "--db", "text.db"], 1, "is damaged"),
        (["--db", "empty.db"], 1, "the history empty.db is empty"),
        (["plot", "--db", "empty.db", "-o", "page.html"], 1, "the history empty.db is empty"),
    ],
)
def test_wrong_use_gets_one_line_and_its_exit_code(
    ingot, tmp_path, monkeypatch, arguments, code, message
):
    monkeypatch.chdir(tmp_path)
    recorded(tmp_path / "here.db", BEFORE)
    prepare_history(tmp_path / "empty.db")
    (tmp_path / "text.db").write_text("not a database, but longer than its header " * 20)
    outcome = ingot("history", *arguments)
    assert outcome.code == code
    assert outcome.error.startswith("ingot: error: ")
    assert message in outcome.error


@pytest.mark.parametrize("command", ["bench", "report"])
def test_a_history_that_cannot_be_written_ends_the_command_before_it_measures(
    ingot, artifact, tmp_path, command
):
    model = artifact if command == "bench" else artifact.with_suffix(".onnx")
    (tmp_path / "text.db").write_text("not a database, but longer than its header " * 20)
    outcome = ingot(command, model, "--db", tmp_path / "text.db", "--runs", 4)
    assert outcome.code == 1
    assert "is damaged" in outcome.error
    assert "warming up" not in outcome.err


def test_a_report_is_recorded_also_when_it_fails(ingot, artifact, database, tmp_path):
    targets = tmp_path / "targets.toml"
    targets.write_text("[tiny]\nsize_mb = 1e-6\n")
    given = ["--threads", 1, "--runs", 4, "-o", tmp_path / "out", "--targets", targets]
    model = artifact.with_suffix(".onnx")
    outcome = ingot("report", model, *given, "--db", database, "--commit", "abc")
    assert outcome.code == 1
    assert f"history: 1 run of commit abc recorded in {database}" in outcome.err
    (run,) = read_history(database)
    assert (run.model, run.recipe, run.commit) == ("tiny", "fp32", "abc")
    assert {"latency_p50_ms", "speed_x", "size_mb"} < {found.quantity for found in run.figures}


@pytest.fixture
def without_operations(artifact, tmp_path):
    """The artifact, its manifest without what its roofline is measured for, which takes seconds."""
    reader = ArtifactReader(artifact)
    placement = {"cpu": {**reader.manifest.placement["cpu"], "kernels": {}}}
    manifest = dataclasses.replace(reader.manifest, placement=placement)
    members = {name: reader.member(name) for name in manifest.members}
    write_artifact(tmp_path / "tiny.ingot", manifest, members)
    return tmp_path / "tiny.ingot"


def test_injected_slowness_fails_a_build_and_injected_noise_does_not(
    ingot, without_operations, database, slowed
):
    """The process that is measured sleeps 3 ms with noise of a tenth, and at last 15 ms."""
    quick = ["--threads", 1, "--runs", 6]

    def measure(milliseconds, seed):
        slowed(milliseconds, noise=0.1, seed=seed)
        recording = ["--db", database, "--commit", f"commit{seed}"]
        assert ingot("bench", without_operations, *quick, *recording).code == 0
        # On a busy machine a sleep of 3 ms may well be one of 5.
        return ingot("history", "check", "--db", database, "--min-change", 100)

    for seed in range(7):
        outcome = measure(3, seed)
        assert outcome.code == 0, outcome.out
    assert "as before tiny fp32 (bench, threads=1 batch=1), latency_p50_ms: " in outcome.out
    outcome = measure(15, 7)
    assert outcome.code == 1
    for quantity in ("latency_p50_ms", "throughput_per_s"):
        assert f"worse tiny fp32 (bench, threads=1 batch=1), {quantity}: " in outcome.out
