"""JSON of a file that may be damaged, as dataclasses: sizes, types and keys are checked.

What an artifact says of itself is held to the types that the code declares for it: a key too many
or too few, or a value of another type, is refused where it is read, not where it is used.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Callable, Mapping, Set
from typing import Any, Union

# Python holds a value of JSON in some fifty bytes beside its text; a text of three bytes per value
# would take sixty times its size.
LARGEST_TEXT = 32 << 20
_MOST_VALUES = 2 << 20
# Counting takes a pass over the text, which a short one cannot need.
_COUNTED_FROM = 1 << 20

_Decoder = Callable[[Any], Any]


def parse_json(
    data: bytes | memoryview, *, largest: int = LARGEST_TEXT, most_values: int = _MOST_VALUES
) -> Any:
    """Parses JSON of a bounded size.

    Args:
        data: The text, UTF-8.
        largest: The most bytes that the text may have.
        most_values: The most values that it may have.

    Raises:
        ValueError: It is no JSON, nested too deeply, or larger than any that Ingot writes.
    """
    if len(data) > largest:
        raise ValueError(f"it is larger than {largest >> 20} MiB")
    text = bytes(data)
    if len(text) > _COUNTED_FROM and sum(map(text.count, (b",", b"[", b"{"))) > most_values:
        raise ValueError(f"it has more than {most_values} values")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def decode(kind: Any, value: Any, where: str = "") -> Any:
    """Returns a value of JSON as what a type says.

    Args:
        kind: A dataclass, or what its fields may be: ``str``, ``int``, ``float``, ``bool``,
            ``Any``, a ``Literal`` or a union of these, ``tuple[X, ...]``, ``tuple[X, X]`` of so
            many, ``Mapping[str, X]``, ``TypedDict``.
        value: What :func:`parse_json` returned.
        where: What the value is called in errors.

    Raises:
        ValueError: The value is of another type, or a field is missing or unknown; says which.
    """
    try:
        return _decoder(kind)(value)
    except _MismatchError as error:
        raise ValueError(error.told(where)) from None


class _MismatchError(ValueError):
    """A value is not of its type; collects on its way out where that is."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path: list[str] = []

    def told(self, where: str) -> str:
        path = "/".join([*([where] if where else []), *reversed(self.path)])
        return f"{self.problem} in {path[:200]!r}" if path else self.problem


@functools.cache
def _decoder(kind: Any) -> _Decoder:
    """Returns what reads values of a type: found once, since each type is read many times."""
    if kind is Any:
        return lambda value: value
    if kind is float:
        return _plain((float, int), "a number")
    if kind is str:
        return _string
    if kind in _PLAIN:
        return _plain((kind,), _PLAIN[kind])
    if dataclasses.is_dataclass(kind):
        return _record(kind)
    if typing.is_typeddict(kind):
        return _typed_dict(kind)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if origin is typing.Literal:
        return _one_of(arguments)
    if origin is tuple:
        count = None if arguments[-1] is Ellipsis else len(arguments)
        return _sequence(arguments[0], tuple, count)
    if origin is list:
        return _sequence(arguments[0], list)
    if origin is Mapping:
        return _mapping(arguments[1])
    raise TypeError(f"no JSON stands for {kind}")


_PLAIN = {int: "an integer", bool: "true or false", type(None): "null"}


def _string(value: Any) -> Any:
    if type(value) is not str:
        raise _MismatchError("no string")
    if not value.isascii() and _has_half_characters(value):
        raise _MismatchError("half a character")
    return value


def _has_half_characters(text: str) -> bool:
    """Whether a text has half of a surrogate pair, which cannot be written."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _plain(kinds: tuple[type, ...], meaning: str) -> _Decoder:
    def read(value: Any) -> Any:
        # A bool is an int to Python, and not to the file.
        if type(value) not in kinds:
            raise _MismatchError(f"a value that is not {meaning}")
        return value

    return read


def _union(kinds: tuple[Any, ...]) -> _Decoder:
    readers = [_decoder(kind) for kind in kinds]

    def read(value: Any) -> Any:
        for reader in readers[:-1]:
            try:
                return reader(value)
            except _MismatchError:
                pass
        return readers[-1](value)

    return read


def _one_of(choices: tuple[Any, ...]) -> _Decoder:
    def read(value: Any) -> Any:
        if not any(type(value) is type(choice) and value == choice for choice in choices):
            raise _MismatchError(f"none of {', '.join(map(str, choices))}")
        return value

    return read


def _sequence(kind: Any, make: type, count: int | None = None) -> _Decoder:
    reader = _decoder(kind)

    def read(value: Any) -> Any:
        if not isinstance(value, list):
            raise _MismatchError("no list")
        if count is not None and len(value) != count:
            raise _MismatchError(f"a list of {len(value)} values, not {count},")
        return make([reader(entry) for entry in value])

    return read


def _mapping(kind: Any) -> _Decoder:
    reader = _decoder(kind)

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _MismatchError("no object")
        for key in value:
            _string(key)
        return value if kind is Any else _read_each(value, dict.fromkeys(value, reader))

    return read


def _record(kind: Any) -> _Decoder:
    hints = typing.get_type_hints(kind)
    fields = [field for field in dataclasses.fields(kind) if field.init]
    readers = {field.name: _decoder(hints[field.name]) for field in fields}
    required = {
        field.name
        for field in fields
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }

    def read(value: Any) -> Any:
        _require_keys(value, required)
        if unknown := value.keys() - readers.keys():
            raise _MismatchError(f"the unknown key {min(unknown)!r}")
        return kind(**_read_each(value, readers))

    return read


def _typed_dict(kind: Any) -> _Decoder:
    """Reads a mapping of which the stated keys have the stated types; others may be there."""
    readers = {key: _decoder(hint) for key, hint in typing.get_type_hints(kind).items()}

    def read(value: Any) -> Any:
        _require_keys(value, kind.__required_keys__)
        known = {key: entry for key, entry in value.items() if key in readers}
        return {**value, **_read_each(known, readers)}

    return read


def _read_each(value: Mapping[str, Any], readers: Mapping[str, _Decoder]) -> dict[str, Any]:
    key = ""
    try:
        return {(key := name): readers[name](entry) for name, entry in value.items()}
    except _MismatchError as error:
        error.path.append(key)
        raise


def _require_keys(value: Any, required: Set[str]) -> None:
    if not isinstance(value, dict):
        raise _MismatchError("no object")
    if missing := required - value.keys():
        raise _MismatchError(f"no key {min(missing)!r}")
