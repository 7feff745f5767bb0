"""Writing the three files."""

import json
import os

import pytest

from ingot.errors import IngotError
from ingot.report.report import Report


def test_the_folder_is_made_and_holds_three_files(figures, tmp_path):
    page = figures.report().write(tmp_path / "a" / "b")
    assert page == tmp_path / "a" / "b" / "report.html"
    assert sorted(file.name for file in page.parent.iterdir()) == [
        "report.html",
        "report.json",
        "report.md",
    ]


def test_the_json_is_the_report(figures, tmp_path):
    report = figures.report()
    report.write(tmp_path)
    text = (tmp_path / "report.json").read_text()
    assert Report.model_validate_json(text) == report
    assert json.loads(text)["schema_version"] == 1


def test_a_report_that_is_there_is_replaced(figures, tmp_path):
    (tmp_path / "report.md").write_text("old")
    figures.report().write(tmp_path)
    assert "old" not in (tmp_path / "report.md").read_text()


def test_a_folder_that_cannot_be_made_gets_one_line(figures, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(IngotError, match=r"cannot make the folder .*file/r: "):
        figures.report().write(tmp_path / "file" / "r")


def test_no_space_left_leaves_nothing_half_written(figures, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(IngotError, match="No space left on device"):
        figures.report().write(tmp_path)
    assert list(tmp_path.iterdir()) == []
