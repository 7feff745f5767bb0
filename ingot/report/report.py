"""A report that writes its pages."""

from __future__ import annotations

from pathlib import Path

from ingot.report.rendering import write_report
from ingot.report.schema import ReportContents


class Report(ReportContents):
    """What ``ingot.compare`` returns: the contents, and the way to files."""

    def write(self, folder: str | Path) -> Path:
        """Writes ``report.html``, ``report.md`` and ``report.json``, each whole or not at all.

        Args:
            folder: Made when it is missing.

        Returns:
            The path of ``report.html``.

        Raises:
            IngotError: A file cannot be written.
        """
        return write_report(self, Path(folder))
