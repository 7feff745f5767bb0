"""Tables of the benchmarks, as Markdown that is legible as it stands."""

from __future__ import annotations

from collections.abc import Sequence


def names(text: str) -> tuple[str, ...]:
    """The names in a comma-separated list, for ``argparse``."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def markdown_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, text_columns: int = 1
) -> str:
    """A Markdown table whose columns are aligned.

    Args:
        headings: Of the columns.
        rows: The cells of each row.
        text_columns: How many columns, from the first one on, hold text; numbers stand right.
    """
    lines = [headings, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    rule = [
        "-" * width if column < text_columns else "-" * (width - 1) + ":"
        for column, width in enumerate(widths)
    ]
    return "\n".join(
        "| "
        + " | ".join(
            cell.ljust(width) if column < text_columns else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        + " |"
        for line in (headings, rule, *rows)
    )
