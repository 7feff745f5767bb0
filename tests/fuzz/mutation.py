"""Seeded changes of bytes, of text and of trees of JSON."""

from __future__ import annotations

import random
from typing import Any

VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 7, 1 << 31, 1 << 63, -(1 << 70), 1.5, 1e400, float("nan")),
    *("", "x", "a\nb", "\0", "\ud800", "weight_0", "image", "float64", "N", "9" * 300),
    *([], [[]], {}, {"": None}, [0], [-1], [1 << 40, 1 << 40], [["x"] * 3] * 3),
]
"""What stands in the place of a value of JSON."""
_KEYS = ("", "more", "shape", "a\nb")
_TOKENS = (
    *("", "{", "}", "[", "]", ":", ",", '"', "'", "\n", "\0", "\\", "\ufeff", "\u2028", "\u202e"),
    *("null", "true", "nan", "1e999", "-1", "9" * 400, "0x", "é", "[" * 3000, "{" * 3000),
    *("a." * 2000, "- " * 500, "&a [*a]", "!!python/name:os.system", "*", "x" * 70_000, "\x1b[31m"),
)


def changed_bytes(data: bytes, dice: random.Random) -> bytes:
    """Returns bytes with some cut out, put in, flipped, or repeated."""
    changed = bytearray(data)
    at = dice.randrange(len(changed) + 1)
    match dice.randrange(6):
        case 0:
            del changed[at:]
        case 1:
            del changed[at : at + dice.choice([1, 2, 64, 4096])]
        case 2:
            changed[at:at] = dice.randbytes(dice.choice([1, 2, 64]))
        case 3 | 4 if at < len(changed):
            changed[at] ^= 1 << dice.randrange(8)
        case _:
            width = dice.choice([1, 2, 4, 8])
            ends = [
                bytes(width),
                b"\xff" * width,
                b"\x7f" + b"\xff" * (width - 1),
                b"\1".ljust(width, b"\0"),
            ]
            end = dice.choice(ends)
            changed[at : at + width] = dice.choice([end, end[::-1]])
    return bytes(changed)


def changed_text(text: str, dice: random.Random) -> bytes:
    """Returns text with a line, a word or a character changed, as UTF-8 for the most part."""
    match dice.randrange(6):
        case 0:
            return changed_bytes(text.encode(), dice)
        case 1:
            lines = text.splitlines(keepends=True)
            at, other = dice.randrange(len(lines)), dice.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
            if dice.random() < 0.5:
                del lines[at]
            return "".join(lines).encode()
        case 2:
            words = text.split(" ")
            words[dice.randrange(len(words))] = dice.choice([*words, *_TOKENS])
            return " ".join(words).encode("utf-8", "replace")
        case _:
            at = dice.randrange(len(text) + 1)
            cut = dice.choice([0, 0, 1, 5])
            return (text[:at] + dice.choice(_TOKENS) + text[at + cut :]).encode("utf-8", "replace")


def change_tree(root: Any, dice: random.Random, values: list[Any] = VALUES) -> None:
    """Changes one value somewhere in a tree of JSON."""
    places = [place for place in _containers(root) if place]
    container = dice.choice(places)
    keys = list(container) if isinstance(container, dict) else list(range(len(container)))
    key = dice.choice(keys)
    match dice.randrange(5):
        case 0 if isinstance(container, dict):
            container[dice.choice(_KEYS)] = container.pop(key)
        case 0 | 1:
            del container[key]
        case 2:
            other = dice.choice(keys)
            container[key], container[other] = container[other], container[key]
        case 3 if isinstance(container[key], int):
            container[key] += dice.choice([-64, -1, 1, 4, 64])
        case _:
            container[key] = dice.choice(values)


def _containers(value: Any) -> list[Any]:
    if not isinstance(value, (dict, list)):
        return []
    inner = value.values() if isinstance(value, dict) else value
    return [value, *(found for entry in inner for found in _containers(entry))]
