"""The command line as a whole: help, versions, how errors leave it, what it loads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ingot.cli.main import COMMANDS
from tests.command_line import Ingot


def test_help_lists_every_command(ingot: Ingot) -> None:
    outcome = ingot("--help")
    assert outcome.code == 0
    assert all(name in outcome.out for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_an_example(ingot: Ingot, command: str) -> None:
    outcome = ingot(command, "--help")
    assert outcome.code == 0
    assert f"ingot {command}" in outcome.out


def test_the_line_of_help_is_ready_before_anything_heavy_is_loaded() -> None:
    program = (
        "import sys; from ingot.cli.main import main; main(['--help']); "
        "sys.exit(any(name in sys.modules for name in ('tvm', 'onnx', 'onnxruntime', 'numpy')))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_wrong_usage_is_exit_code_2(ingot: Ingot) -> None:
    assert ingot("compile", "--no-such-option").code == 2
    assert ingot("no-such-command").code == 2
    assert ingot("compile").code == 2


def test_an_error_is_one_line_and_its_traceback_is_behind_debug(
    ingot: Ingot, tmp_path: Path
) -> None:
    short = ingot("inspect", tmp_path / "none.ingot")
    assert short.code == 1
    assert short.err == f"ingot: error: there is no artifact at {tmp_path / 'none.ingot'}\n"
    long = ingot("inspect", tmp_path / "none.ingot", "--debug")
    assert long.code == 1
    assert "Traceback" in long.err
    assert long.error == short.error


def test_version(ingot: Ingot) -> None:
    assert ingot("--version").out.startswith("ingot ")
