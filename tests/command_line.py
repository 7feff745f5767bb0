"""Calling the command line in this process, as the console script does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from ingot.cli.main import main


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The last line on standard error."""
        return self.err.strip().splitlines()[-1] if self.err.strip() else ""


Ingot = Callable[..., Outcome]


@pytest.fixture
def ingot(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ingot:
    """``ingot("compile", path, …)`` runs a command and returns its outcome."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> Outcome:
        capfd.readouterr()
        code = main([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call
