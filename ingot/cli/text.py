"""Text that holds names from elsewhere, such as a model's tensors', as a terminal takes it."""

from __future__ import annotations

import contextlib
import sys
import unicodedata
from typing import Any

from rich.console import Console
from rich.text import Text

# A table in a log, where there is no terminal whose width could be asked for.
LOG_WIDTH = 160

# Of what Unicode calls control, format, surrogate and unassigned, only these are text.
_PLAIN = frozenset("\n\t")
_OBEYED = frozenset({"Cc", "Cf", "Cs", "Cn"})


class PlainConsole(Console):
    """A console that shows every text as it is written.

    Names from a model are no markup: ``x[/red]`` is a tensor, and ``:smile:`` no picture. What has
    a colour is a :class:`rich.text.Text`, or in a column or row with a style.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Makes text of a string, whatever characters are in it."""
        return super().render_str(printable(text), **options)


def result_console() -> Console:
    """Standard output for tables: as wide as the terminal, or wide enough for a log."""
    console = PlainConsole()
    return console if console.is_terminal else PlainConsole(width=LOG_WIDTH)


def printable(text: str) -> str:
    """Returns text without what a terminal would obey or a stream could not encode.

    Control characters (those of escape sequences among them) and halves of surrogate pairs are
    written as escapes in Python's form; line breaks and tabs stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char
        if char in _PLAIN or unicodedata.category(char) not in _OBEYED
        else char.encode("unicode_escape", "surrogatepass").decode("ascii")
        for char in text
    )


def escape_what_streams_cannot_encode() -> None:
    """Makes standard output and error write an escape where their encoding lacks a character."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
