"""The history's file: whole, shared, and refused where it is not what it should be."""

import dataclasses
import multiprocessing
import os
import sqlite3
import stat

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingot.errors import IngotError
from ingot.report.history.database import (
    SCHEMA_VERSION,
    default_history,
    prepare_history,
    read_history,
    record,
)
from tests.report.history.conftest import make_found, make_run


def numbered(runs):
    return [dataclasses.replace(run, number=index) for index, run in enumerate(runs, start=1)]


class TestKeeping:
    def test_what_is_recorded_is_read_back_in_order(self, database):
        figures = (make_found("latency_p99_ms", 9.0, high=None), make_found("size_mb", 2.5))
        runs = [
            make_run(commit="0123456789ab", facts={"versions": {"a": "1"}, "load_average": 0.5}),
            make_run(*figures, model='o"; DROP TABLE runs; --', recorded="2026-12-01"),
            make_run(model="ünicode\n\x1b"),
        ]
        record(database, runs[:1])
        record(database, runs[1:])
        assert read_history(database) == numbered(runs)
        assert read_history(database, runs[1].model) == numbered(runs)[1:2]
        assert read_history(database, "unknown") == []

    def test_all_runs_of_a_call_are_kept_or_none(self, database):
        record(database, [make_run()])
        twice = make_run(make_found(), make_found())  # the same quantity two times
        with pytest.raises(IngotError):
            record(database, [make_run(), twice])
        assert len(read_history(database)) == 1

    def test_it_is_one_file_that_can_be_copied(self, database):
        record(database, [make_run()])
        assert [path.name for path in database.parent.iterdir()] == ["history.db"]

    def test_the_users_own_is_made_with_its_folder(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
        assert default_history() == tmp_path / "data" / "ingot" / "history.db"
        record(default_history(), [make_run()])
        assert len(read_history(default_history())) == 1

    def test_any_other_folder_must_be_there(self, tmp_path):
        with pytest.raises(IngotError, match="does not exist: make it first"):
            prepare_history(tmp_path / "none" / "history.db")

    def test_names_of_files_that_are_half_an_address(self, tmp_path):
        path = tmp_path / "what? 100%#1.db"
        record(path, [make_run()])
        assert path.is_file()
        assert len(read_history(path)) == 1


def _write(path, begin, writer):
    begin.wait()
    for index in range(15):
        record(path, [make_run(model=f"{writer}-{index}"), make_run(model=f"{writer}-{index}")])


def test_writers_at_once_lose_nothing(database):
    """From the very first, when the file itself is yet to be made."""
    context = multiprocessing.get_context("fork")
    begin = context.Barrier(3)
    writers = [context.Process(target=_write, args=(database, begin, n)) for n in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
        assert writer.exitcode == 0
    models = [run.model for run in read_history(database)]
    assert sorted(models) == sorted(f"{w}-{i}" for w in range(3) for i in range(15) for _ in "ab")
    assert models[::2] == models[1::2]  # what one call recorded stays together


def one_line(caught):
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestRefused:
    def test_what_is_not_there(self, database):
        with pytest.raises(IngotError, match="there is no history .*--history"):
            read_history(database)
        assert not database.exists()

    @pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 0, -3])
    def test_versions_that_are_not_known(self, database, version):
        record(database, [make_run()])
        with sqlite3.connect(database) as connection:
            connection.execute(f"PRAGMA user_version = {version}")
        connection.close()
        for use in (read_history, prepare_history, lambda path: record(path, [make_run()])):
            with pytest.raises(IngotError, match=f"version {version} of its format, and this"):
                use(database)

    def test_databases_of_others(self, database):
        with sqlite3.connect(database) as connection:
            connection.execute("CREATE TABLE cookies (name TEXT)")
        connection.close()
        before = database.read_bytes()
        for use in (read_history, prepare_history):
            with pytest.raises(IngotError, match="is no history of Ingot's"):
                use(database)
        assert database.read_bytes() == before

    def test_an_empty_file_is_no_history_but_can_become_one(self, database):
        database.touch()
        with pytest.raises(IngotError, match="is no history of Ingot's"):
            read_history(database)
        record(database, [make_run()])
        assert len(read_history(database)) == 1

    @pytest.mark.parametrize("content", [b"nonsense" * 100, b"SQLite format 3\0" + b"\xff" * 500])
    def test_files_of_other_kinds(self, database, content):
        database.write_bytes(content)
        for use in (read_history, prepare_history):
            with pytest.raises(IngotError, match="is damaged .*: move it away") as caught:
                use(database)
            one_line(caught)
        assert database.read_bytes() == content

    def test_half_a_file(self, database):
        record(database, [make_run(model="m" * 500) for _ in range(40)])
        whole = database.read_bytes()
        database.write_bytes(whole[: len(whole) // 2 // 4096 * 4096])
        with pytest.raises(IngotError, match="is damaged"):
            read_history(database)

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ("UPDATE figures SET value = 'fast'", "is no number"),
            ("UPDATE figures SET value = 9e999", "is no number"),
            ("UPDATE figures SET value = -1.0", "-1 ms is impossible for latency_p50_ms"),
            ("UPDATE runs SET facts = '{'", "is damaged"),
            ("UPDATE runs SET facts = '[]'", "is no text"),
            ("UPDATE runs SET model = x'00ff'", "is no text"),
            ("DROP TABLE figures", "no such table"),
        ],
    )
    def test_entries_that_nothing_could_have_recorded(self, database, change, reason):
        record(database, [make_run()])
        with sqlite3.connect(database) as connection:
            connection.execute(change)
        connection.close()
        with pytest.raises(IngotError, match=reason) as caught:
            read_history(database)
        assert "is damaged" in one_line(caught)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
    def test_a_file_that_must_not_be_written(self, database):
        record(database, [make_run()])
        database.chmod(stat.S_IRUSR)
        with pytest.raises(IngotError, match="cannot be opened or written"):
            record(database, [make_run()])
        assert len(read_history(database)) == 1

    def test_a_folder(self, tmp_path):
        with pytest.raises(IngotError, match="cannot be opened or written"):
            prepare_history(tmp_path)

    def test_one_that_another_keeps_locked(self, database, monkeypatch):
        record(database, [make_run()])
        monkeypatch.setattr("ingot.report.history.database._SECONDS_TO_WAIT", 0.05)
        holder = sqlite3.connect(database, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(IngotError, match="was being written by others for over 0 s"):
            record(database, [make_run()])
        holder.execute("ROLLBACK")
        holder.close()


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32 - 1))
def test_random_damage_is_one_line_or_harmless(tmp_path_factory, seed):
    database = tmp_path_factory.mktemp("damage") / "history.db"
    runs = [make_run(model=f"model {index}" * 20) for index in range(30)]
    record(database, runs)
    rng = np.random.default_rng(seed)
    content = bytearray(database.read_bytes())
    begin = int(rng.integers(0, len(content)))
    length = int(rng.integers(1, 400))
    content[begin : begin + length] = rng.bytes(len(content[begin : begin + length]))
    database.write_bytes(content)
    try:
        read_history(database)
    except IngotError as error:
        assert "\n" not in str(error)
