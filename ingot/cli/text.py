"""Text that holds names from elsewhere, such as a model's tensors', as a terminal takes it."""

from __future__ import annotations

import unicodedata

# Of what Unicode calls control, format, surrogate and unassigned, only these are text.
_PLAIN = frozenset("\n\t")


def printable(text: str) -> str:
    """Returns text without what a terminal would obey or a stream could not encode.

    Control characters (those of escape sequences among them) and halves of surrogate pairs are
    written as escapes in Python's form; line breaks and tabs stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        char
        if char in _PLAIN or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Cn")
        else char.encode("unicode_escape", "surrogatepass").decode("ascii")
        for char in text
    )
