"""The examples for build pipelines, run as far as no network is needed."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ingot.report.history.database import read_history, record
from ingot.report.history.runs import Run
from tests.command_line import Ingot
from tests.report.conftest import save_classifier

ROOT = Path(__file__).resolve().parents[2]
CI = ROOT / "examples" / "ci"
SCRIPT = CI / "check.sh"
WORKFLOW = CI / "github-actions.yml"
# Commands of Ingot are written down, and end with the next of the codes that are given.
_STAND_IN = """#!/bin/sh
echo "$@" >> calls
count=$(wc -l < calls)
code=$(sed -n "${count}p" codes)
exit "${code:-0}"
"""


def run_script(
    folder: Path, *arguments: str, path: Path, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Runs check.sh in a folder with a command ``ingot`` of the folder ``path``."""
    return subprocess.run(
        ["sh", str(SCRIPT), *arguments],
        cwd=folder,
        env={
            **os.environ,
            "PATH": f"{path}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            **variables,
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """A folder with a command ``ingot`` that only notes how it is called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ingot").write_text(_STAND_IN)
    (folder / "ingot").chmod(0o755)
    return folder


REPORT = "report dir/net.onnx --targets t.toml --db h.db --output ingot-report --runs 40"
CHECK = "history check --db h.db --model net"
PLOT = "history plot --db h.db --model net --output ingot-report/history.html"


class TestScript:
    @pytest.mark.parametrize("shell", ["sh", "dash", "bash"])
    def test_shells_can_read_it(self, shell: str) -> None:
        if shutil.which(shell) is None:
            pytest.skip(f"{shell} is not installed")
        subprocess.run([shell, "-n", str(SCRIPT)], check=True)

    @pytest.mark.parametrize(
        ("codes", "calls", "code"),
        [
            ([0, 0], [REPORT, CHECK, PLOT], 0),
            ([1, 0], [REPORT, CHECK, PLOT], 1),
            ([2], [REPORT], 2),
            ([0, 1, 0, 0, 0], [REPORT, CHECK, REPORT, REPORT, f"{CHECK} --runs 3", PLOT], 0),
            ([0, 1, 0, 1, 1], [REPORT, CHECK, REPORT, REPORT, f"{CHECK} --runs 3", PLOT], 1),
            ([1, 1, 1, 1, 0], [REPORT, CHECK, REPORT, REPORT, f"{CHECK} --runs 3", PLOT], 1),
            ([0, 2], [REPORT, CHECK, PLOT], 1),
        ],
        ids=["well", "budget", "usage", "once", "again", "both", "check fails"],
    )
    def test_a_finding_counts_when_it_is_found_again(
        self, tmp_path: Path, stand_in: Path, codes: list[int], calls: list[str], code: int
    ) -> None:
        (tmp_path / "codes").write_text("".join(f"{code}\n" for code in codes))
        arguments = ["dir/net.onnx", "t.toml", "h.db", "--runs", "40"]
        done = run_script(tmp_path, *arguments, path=stand_in)
        assert (tmp_path / "calls").read_text().splitlines() == calls
        assert done.returncode == code
        assert bool(done.stderr) == (code == 1)

    def test_a_change_is_accepted_by_a_variable(self, tmp_path: Path, stand_in: Path) -> None:
        (tmp_path / "codes").write_text("0\n")
        variables = {"SINCE": "abc", "OUTPUT": "my folder"}
        assert run_script(tmp_path, "n", "t", "h", path=stand_in, **variables).returncode == 0
        report, check, plot = (tmp_path / "calls").read_text().splitlines()
        assert report.endswith("--output my folder")
        assert check == "history check --db h --model n --since abc"
        assert plot.endswith("--output my folder/history.html")

    def test_wrong_use_is_told(self, tmp_path: Path, stand_in: Path) -> None:
        done = run_script(tmp_path, "net.onnx", path=stand_in)
        assert (done.returncode, done.stderr) == (
            2, "usage: check.sh MODEL TARGETS HISTORY [OPTION...]\n",
        )  # fmt: skip

    @pytest.mark.slow
    def test_on_a_tiny_net_it_passes_and_leaves_its_pages(self, tmp_path: Path) -> None:
        save_classifier(tmp_path / "net.onnx")
        (tmp_path / "targets.toml").write_text("[net]\nsize_mb = 1\n")
        arguments = ["net.onnx", "targets.toml", "h.db", "--threads", "1", "--runs", "4"]
        done = run_script(tmp_path, *arguments, path=Path(sys.executable).parent)
        assert done.returncode == 0, done.stderr
        assert "passed size_mb = 1" in done.stdout
        assert "not enough runs net fp32" in done.stdout
        pages = {page.name for page in (tmp_path / "ingot-report").iterdir()}
        assert pages == {"report.html", "report.json", "report.md", "history.html"}

    @pytest.mark.slow
    def test_on_a_tiny_net_that_grew_it_fails_after_it_measured_again(self, tmp_path: Path) -> None:
        save_classifier(tmp_path / "net.onnx")
        (tmp_path / "targets.toml").write_text("[net]\nsize_mb = 1\n")
        arguments = ["net.onnx", "targets.toml", "h.db", "--threads", "1", "--runs", "4"]
        path = Path(sys.executable).parent
        assert run_script(tmp_path, *arguments, path=path).returncode == 0
        (run,) = read_history(tmp_path / "h.db")
        (tmp_path / "h.db").unlink()
        record(tmp_path / "h.db", [_half_as_large(run)])
        done = run_script(tmp_path, *arguments, path=path)
        assert done.returncode == 1
        assert done.stderr.endswith("net became worse: see ingot-report/history.html\n")
        assert len(read_history(tmp_path / "h.db")) == 4


def _half_as_large(run: Run) -> Run:
    figures = [
        dataclasses.replace(found, value=found.value / 2, low=found.low / 2)
        for found in run.figures
        if found.quantity == "size_mb"
    ]
    return dataclasses.replace(run, figures=tuple(figures))


@pytest.fixture(scope="module")
def steps() -> list[dict[str, Any]]:
    document = yaml.safe_load(WORKFLOW.read_text())
    # YAML 1.1 takes the key "on" for true.
    assert set(document[True]) == {"push", "pull_request"}
    found: list[dict[str, Any]] = document["jobs"]["check"]["steps"]
    return found


class TestWorkflow:
    def test_every_step_does_one_thing_by_an_action_of_a_version_or_a_script(
        self, steps: list[dict[str, Any]]
    ) -> None:
        for step in steps:
            assert ("uses" in step) != ("run" in step)
            if "uses" in step:
                assert re.fullmatch(r"actions/[\w/-]+@v\d+", step["uses"])

    def test_its_scripts_are_shell(self, steps: list[dict[str, Any]]) -> None:
        for step in steps:
            if "run" in step:
                subprocess.run(["bash", "-n"], input=step["run"], text=True, check=True)

    def test_its_check_is_the_script_with_what_the_repository_has(
        self, steps: list[dict[str, Any]], tmp_path: Path, stand_in: Path
    ) -> None:
        (step,) = (step for step in steps if step.get("name") == "Check the model")
        (tmp_path / "ci").mkdir()
        shutil.copy(SCRIPT, tmp_path / "ci" / "check.sh")
        (tmp_path / "codes").write_text("0\n")
        environment = {"PATH": f"{stand_in}{os.pathsep}{os.environ['PATH']}", "SINCE": ""}
        subprocess.run(["bash", "-e", "-c", step["run"]], cwd=tmp_path, env=environment, check=True)
        report, check, _ = (tmp_path / "calls").read_text().splitlines()
        assert report.startswith("report model.onnx --targets targets.toml --db history.db")
        assert check == "history check --db history.db --model model"

    def test_its_report_is_shown(self, steps: list[dict[str, Any]], tmp_path: Path) -> None:
        (step,) = (step for step in steps if step.get("name") == "Show the report")
        script = ["bash", "-e", "-c", step["run"]]
        environment = {**os.environ, "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
        subprocess.run(script, cwd=tmp_path, env=environment, check=True)
        (tmp_path / "ingot-report").mkdir()
        (tmp_path / "ingot-report" / "report.md").write_text("### found\n")
        subprocess.run(script, cwd=tmp_path, env=environment, check=True)
        assert (tmp_path / "summary").read_text() == "### found\n"

    def test_the_history_is_saved_as_it_is_restored(self, steps: list[dict[str, Any]]) -> None:
        restore, save = (
            next(step for step in steps if step.get("uses") == f"actions/cache/{what}@v4")
            for what in ("restore", "save")
        )
        assert restore["with"]["key"] == save["with"]["key"]
        assert restore["with"]["path"] == save["with"]["path"] == "history.db"
        assert save["with"]["key"].startswith(restore["with"]["restore-keys"])


@pytest.mark.parametrize(
    ("command", "options"),
    [
        (["report"], ["--targets", "--db", "--output", "--runs"]),
        (["history", "check"], ["--db", "--model", "--since", "--runs"]),
        (["history", "plot"], ["--db", "--model", "--output"]),
    ],
)
def test_commands_and_options_of_the_script_exist(
    ingot: Ingot, command: list[str], options: list[str]
) -> None:
    called = SCRIPT.read_text()
    assert f"ingot {' '.join(command)} " in called
    described = ingot(*command, "--help")
    assert described.code == 0
    for option in options:
        assert option in called
        assert re.search(rf"{option}\b", described.out), option
