"""What commands share: how they show progress, and lists of numbers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ingot.cli.interruption import end_if_interrupted
from ingot.cli.text import PlainConsole, printable
from ingot.errors import UsageError
from ingot.progress import Progress as Tell

# Plain lines for a log: a step's begin, and its quarters where it is long.
_QUARTERS = 4
_LONG = 100


@contextlib.contextmanager
def progress() -> Iterator[Tell]:
    """Shows steps with a bar on a terminal and as plain lines elsewhere, on standard error."""
    console = PlainConsole(stderr=True)
    if not console.is_terminal:
        yield _PlainLines(console)
        return
    bar = Progress(
        TextColumn("{task.description}", markup=False),
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
            end_if_interrupted()
            if what != current:
                current = what
                bar.reset(task, description=printable(what), total=total or None)
            bar.update(task, completed=done, total=total or None)

        yield tell


class _PlainLines:
    """Writes a line when a step begins, and at each quarter of a long one."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._step = ""
        self._quarter = 0

    def __call__(self, what: str, done: int, total: int) -> None:
        """Notes how far a step is."""
        end_if_interrupted()
        quarter = done * _QUARTERS // total if total >= _LONG else 0
        if what != self._step:
            self._line(what)
        elif quarter > self._quarter:
            self._line(f"{what}: {done:,} of {total:,}")
        self._step, self._quarter = what, quarter

    def _line(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)


def parse_threads(text: str) -> list[int]:
    """Parses ``1,2,4``.

    Raises:
        UsageError: The text is no list of numbers.
    """
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--threads {text!r} is no list of numbers, such as 1,2") from None
