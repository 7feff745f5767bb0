"""README's picture is a drawing of a report that is a file by itself."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.readme_picture import main
from ingot.report.schema import ReportContents
from tests.report.conftest import make_report


def test_the_picture_is_an_svg_that_brings_its_colours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report: ReportContents = make_report()
    (tmp_path / "report.json").write_text(report.model_dump_json())
    assert main([str(tmp_path / "report.json"), str(tmp_path / "picture.svg")]) == 0
    text = (tmp_path / "picture.svg").read_text()
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    for variable in ("--ink", "--series-1"):
        assert f"{variable}: #" in text
    assert report.variants[1].name in text
    assert report.headline in capsys.readouterr().out
