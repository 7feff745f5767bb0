"""Recording what was measured into a history: the options that commands share, and the line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from ingot.report.history.commit import current_commit
from ingot.report.history.database import default_history, prepare_history, record
from ingot.report.history.runs import Run

HistoryOption: TypeAlias = Annotated[
    bool,
    typer.Option("--history", help="Record what was measured for `ingot history`."),
]
DatabaseOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--db", help="The history's file, instead of the user's; implies --history."),
]
CommitOption: TypeAlias = Annotated[
    str | None,
    typer.Option(help="The commit to record. Default: that of the Git repository here."),
]


class Recorder:
    """Where a command records to, found out and tried before anything is measured."""

    def __init__(self, wanted: bool, database: Path | None, commit: str | None) -> None:
        """Opens the history where one is wanted.

        Raises:
            IngotError: It cannot be written to.
        """
        self._path = None
        self.commit: str | None = None
        if wanted or database is not None:
            self._path = default_history() if database is None else database
            prepare_history(self._path)
            # Before measuring: the files are then still those that are measured.
            self.commit = commit or current_commit()

    @property
    def wanted(self) -> bool:
        """Whether there is anything to record."""
        return self._path is not None

    def record(self, runs: Sequence[Run]) -> None:
        """Records runs and says so on standard error.

        Raises:
            IngotError: They cannot be written.
        """
        assert self._path is not None
        record(self._path, runs)
        of = "" if self.commit is None else f" of commit {self.commit}"
        count = f"{len(runs)} run{'s' * (len(runs) != 1)}"
        typer.echo(f"history: {count}{of} recorded in {self._path}", err=True)
