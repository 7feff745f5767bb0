"""Draws README's picture from a report: accuracy against latency, as an SVG file of its own.

ingot report mobilenetv2 --recipe fp32 --recipe bf16 --recipe int8 --data DIR -o report
python -m benchmarks.readme_picture report/report.json docs/images/accuracy_against_latency.svg
"""

from __future__ import annotations

import argparse
import importlib.resources
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ingot.files import atomic_file
from ingot.report.rendering.plots import accuracy_against_latency
from ingot.report.schema import ReportContents

# Where the stylesheet says which colours there are: for light pages, then for dark ones.
_COLOURS = re.compile(r"^:root \{.*?^\}\n@media.*?^\}\n", re.DOTALL | re.MULTILINE)


def standalone(drawing: str) -> str:
    """Returns a report's drawing, which lies in a page, as a file that brings what the page has.

    Args:
        drawing: An SVG element whose colours are the report's CSS variables.
    """
    sheet = importlib.resources.files("ingot.report").joinpath("templates/report.css")
    colours = _COLOURS.search(sheet.read_text(encoding="utf-8"))
    assert colours is not None, "the stylesheet begins with its colours"
    style = f"<style>{colours[0]}svg {{ font-family: system-ui, sans-serif }}</style>"
    head, rest = drawing.split(">", 1)
    return f'{head} xmlns="http://www.w3.org/2000/svg">{style}{rest}\n'


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", type=Path, help="a report.json")
    parser.add_argument("picture", type=Path, help="the SVG file that is written")
    given = parser.parse_args(arguments)
    report = ReportContents.model_validate_json(given.report.read_text(encoding="utf-8"))
    drawing = accuracy_against_latency(report.variants)
    if drawing is None:
        parser.error(f"{given.report} has no accuracy: give `ingot report` labelled data")
    with atomic_file(given.picture) as file:
        file.write(standalone(drawing).encode())
    print(report.headline)
    return 0


if __name__ == "__main__":
    sys.exit(main())
