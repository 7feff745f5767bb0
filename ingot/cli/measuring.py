"""What commands share: how they show progress and tables, and lists of numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ingot.errors import UsageError
from ingot.progress import Progress as Tell

# Plain lines for a log: a step's begin, and its quarters where it is long.
_QUARTERS = 4
_LONG = 100
_LOG_WIDTH = 160


@contextlib.contextmanager
def progress() -> Iterator[Tell]:
    """Shows steps with a bar on a terminal and as plain lines elsewhere, on standard error."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _PlainLines(console)
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=None)
        current = ""

        def tell(what: str, done: int, total: int) -> None:
            nonlocal current
            if what != current:
                current = what
                bar.reset(task, description=what, total=total or None)
            bar.update(task, completed=done, total=total or None)

        yield tell


def result_console() -> Console:
    """Standard output for a table: as wide as the terminal, or wide enough for a log."""
    console = Console()
    return console if console.is_terminal else Console(width=_LOG_WIDTH)


class _PlainLines:
    """Writes a line when a step begins, and at each quarter of a long one."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._step = ""
        self._quarter = 0

    def __call__(self, what: str, done: int, total: int) -> None:
        """Notes how far a step is."""
        quarter = done * _QUARTERS // total if total >= _LONG else 0
        if what != self._step:
            self._line(what)
        elif quarter > self._quarter:
            self._line(f"{what}: {done:,} of {total:,}")
        self._step, self._quarter = what, quarter

    def _line(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)


def parse_threads(text: str) -> list[int]:
    """Parses ``1,2,4``.

    Raises:
        UsageError: The text is no list of numbers.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--threads {text!r} is no list of numbers, such as 1,2") from None
