"""From a report to its pages: HTML to look at, Markdown for a pull request, JSON for scripts."""

from __future__ import annotations

from pathlib import Path

from ingot.errors import IngotError
from ingot.files import atomic_file
from ingot.report.schema import ReportContents

__all__ = ["PAGES", "write_report"]

PAGES = ("report.json", "report.md", "report.html")
"""The files of a report."""


def write_report(report: ReportContents, folder: Path) -> Path:
    """Writes the three files, each whole or not at all; see ``Report.write``."""
    # Who only formats numbers needs none of what draws pages.
    from ingot.report.rendering.html import render_html
    from ingot.report.rendering.markdown import render_markdown

    texts = (report.to_json(), render_markdown(report), render_html(report))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise IngotError(f"cannot make the folder {folder}: {error.strerror or error}") from error
    for name, text in zip(PAGES, texts, strict=True):
        with atomic_file(folder / name) as file:
            file.write(text.encode())
    return folder / "report.html"
