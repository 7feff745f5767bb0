"""The history's file: a database of SQLite.

The journal is SQLite's own rollback journal and not a write-ahead log: a history is written once
per measurement and by few, while it is copied, cached by build machines and kept on network
drives. With a write-ahead log the last runs would lie in a second file that such a copy leaves
out, and its shared memory does not work across a network (https://www.sqlite.org/wal.html).

Writers take the database's write lock before they look at anything, so that of two who come at
once the second waits and finds what the first has made.
"""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from ingot.errors import IngotError
from ingot.files import user_data
from ingot.report.history.runs import Found, Run

SCHEMA_VERSION = 1
"""The version that this Ingot writes, and the only one that it reads."""

# "Ingt": by this a database is known as a history (the pragma application_id).
_APPLICATION = 0x496E6774
_SECONDS_TO_WAIT = 30.0
_SCHEMA = """
CREATE TABLE runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    model TEXT NOT NULL,
    recipe TEXT NOT NULL,
    target TEXT NOT NULL,
    setting TEXT NOT NULL,
    machine TEXT NOT NULL,
    "commit" TEXT,
    recorded TEXT NOT NULL,
    facts TEXT NOT NULL
);
CREATE INDEX runs_by_model ON runs (model);
CREATE TABLE figures (
    run INTEGER NOT NULL REFERENCES runs (number),
    quantity TEXT NOT NULL,
    basis TEXT NOT NULL,
    unit TEXT NOT NULL,
    higher_is_better INTEGER NOT NULL,
    value REAL NOT NULL,
    low REAL NOT NULL,
    high REAL,
    PRIMARY KEY (run, quantity, basis)
) WITHOUT ROWID;
"""
_RUN_COLUMNS = 'model, recipe, target, setting, machine, "commit", recorded, facts'
_FIGURE_COLUMNS = "run, quantity, basis, unit, higher_is_better, value, low, high"


def default_history() -> Path:
    """The user's history.

    Raises:
        IngotError: The user has no home; says to name a file.
    """
    folder = user_data("ingot")
    if folder is None:
        raise IngotError("this user has no home for a history: name its file with --db")
    return folder / "history.db"


def prepare_history(path: Path) -> None:
    """Makes a history where there is none, and refuses what cannot be written to.

    The folder is made for the user's own history, and must exist for any other.

    Raises:
        IngotError: The file cannot be written, is damaged, is something else, or was written by an
            Ingot that knows a later version.
    """
    if not path.parent.is_dir():
        if path != default_history():
            raise IngotError(f"the history's folder {path.parent} does not exist: make it first")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise IngotError(
                f"cannot make the folder {path.parent}: {error.strerror or error}"
            ) from error
    with _opened(path, "rwc") as connection, _writing(connection):
        _require_history(connection, path, make=True)


def record(path: Path, runs: Sequence[Run]) -> None:
    """Adds runs to a history, all or none.

    Args:
        path: The file; made when it is missing.
        runs: What was measured.

    Raises:
        IngotError: As for :func:`prepare_history`.
    """
    prepare_history(path)
    with _opened(path, "rw") as connection, _writing(connection):
        for run in runs:
            places = ", ".join("?" * 8)
            added = connection.execute(
                f"INSERT INTO runs ({_RUN_COLUMNS}) VALUES ({places})",
                (
                    run.model, run.recipe, run.target, run.setting, run.machine, run.commit,
                    run.recorded, json.dumps(run.facts),
                ),
            )  # fmt: skip
            connection.executemany(
                f"INSERT INTO figures ({_FIGURE_COLUMNS}) VALUES ({places})",
                [
                    (
                        added.lastrowid, found.quantity, found.basis, found.unit,
                        found.higher_is_better, found.value, found.low, found.high,
                    )
                    for found in run.figures
                ],
            )  # fmt: skip


def read_history(path: Path, model: str | None = None) -> list[Run]:
    """Returns the runs of a history, of one model or of all, in the order they were recorded.

    Raises:
        IngotError: There is no such file, or it is damaged, something else, or of another version.
    """
    if not path.is_file():
        raise IngotError(
            f"there is no history {path}: `ingot report` and `ingot bench` make one with --history"
        )
    with _opened(path, "rw") as connection:
        _require_history(connection, path, make=False)
        (sound,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if sound != "ok":
            raise sqlite3.DatabaseError(sound)
        chosen = "WHERE ?1 IS NULL OR model = ?1"
        rows = connection.execute(
            f"SELECT number, {_RUN_COLUMNS} FROM runs {chosen} ORDER BY number", (model,)
        ).fetchall()
        figures = connection.execute(
            f"SELECT {_FIGURE_COLUMNS} FROM figures WHERE run IN "
            f"(SELECT number FROM runs {chosen}) ORDER BY run, quantity, basis",
            (model,),
        ).fetchall()
        by_run: dict[int, list[Found]] = {}
        for run, *columns in figures:
            by_run.setdefault(run, []).append(_read_figure(*columns))
        return [_read_run(row, by_run.get(row[0], [])) for row in rows]


def _read_run(row: Sequence[object], figures: Sequence[Found]) -> Run:
    number, model, recipe, target, setting, machine, commit, recorded, facts = row
    texts = (model, recipe, target, setting, machine, recorded, facts)
    known = json.loads(str(facts))
    if not all(isinstance(text, str) for text in texts) or not isinstance(known, dict):
        raise ValueError(f"run {number} holds what is no text")
    return Run(
        model=str(model),
        recipe=str(recipe),
        target=str(target),
        setting=str(setting),
        machine=str(machine),
        commit=None if commit is None else str(commit),
        recorded=str(recorded),
        facts=known,
        figures=tuple(figures),
        number=int(str(number)),
    )


def _read_figure(
    quantity: str, basis: str, unit: str, higher: int, value: float, low: float, high: float | None
) -> Found:
    found = Found(quantity, basis, unit, bool(higher), value, low, high)
    numbers = [value, low, *([] if high is None else [high])]
    if not all(isinstance(number, float) and math.isfinite(number) for number in numbers):
        raise ValueError(f"a figure of {quantity} is no number")
    if found.noisy and min(numbers) <= 0:
        raise ValueError(f"{value:g} {unit} is impossible for {quantity}")
    return found


def _require_history(connection: sqlite3.Connection, path: Path, *, make: bool) -> None:
    """Refuses what is no history of this version; makes one of an empty file."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application == _APPLICATION:
        if version != SCHEMA_VERSION:
            raise IngotError(
                f"the history {path} has version {version} of its format, and this Ingot knows "
                f"version {SCHEMA_VERSION}: use the Ingot that wrote it, or another file (--db)"
            )
        return
    if not make or application or version or tables:
        raise IngotError(f"{path} is no history of Ingot's: give another file (--db)")
    for statement in _SCHEMA.split(";"):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


@contextlib.contextmanager
def _opened(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    """A connection that is closed at the end; what SQLite says becomes one line."""
    try:
        # Also readers open for writing, where they may: they clear up after a writer that died.
        address = f"{path.absolute().as_uri()}?mode={mode}"
        connection = sqlite3.connect(
            address, uri=True, timeout=_SECONDS_TO_WAIT, isolation_level=None
        )
        with contextlib.closing(connection):
            connection.execute("PRAGMA foreign_keys = ON")
            yield connection
    except (sqlite3.Error, ValueError, TypeError) as error:
        raise IngotError(_in_words(path, error)) from error


@contextlib.contextmanager
def _writing(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        # An error of the disk may have ended the transaction already.
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _in_words(path: Path, error: Exception) -> str:
    said = str(error)
    if "locked" in said:
        return (
            f"the history {path} was being written by others for over {_SECONDS_TO_WAIT:.0f} s: "
            "try again"
        )
    for reason in ("unable to open", "readonly", "full", "disk I/O"):
        if reason in said:
            return f"the history {path} cannot be opened or written ({said}): give another --db"
    return f"the history {path} is damaged ({said}): move it away, or put a copy in its place"
