"""Errors that a user can act on.

Each message is one line: what is wrong, where, and what to do. The command line prints it as it
stands and exits with the error's code; the traceback stays behind ``--debug``.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import ClassVar

LONGEST_MESSAGE = 2000


class IngotError(Exception):
    """Base of every error that Ingot raises on purpose.

    Attributes:
        exit_code: What the command line exits with: 1 when the work failed, 2 for wrong usage.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, *arguments: object) -> None:
        """Makes one line of the message: names in a file may be of any length, and of any kind."""
        super().__init__(*(one_line(text) if isinstance(text, str) else text for text in arguments))


class UsageError(IngotError):
    """The call itself is wrong: an unknown option, key, name or a malformed value."""

    exit_code: ClassVar[int] = 2


class ModelError(IngotError):
    """The model is not ONNX, is damaged, or cannot be handled as it is."""


class UnsupportedOperatorError(ModelError):
    """An operator (or its opset version) cannot be lowered to the target."""


class CompilationError(ModelError):
    """No code can be generated for a graph, though each of its operators has a lowering."""


class VerificationError(IngotError):
    """An optimization changed the outputs by more than its tolerance allows."""


class DataError(IngotError):
    """Calibration or evaluation data is missing, empty, mislabelled or does not fit the model."""


class ArtifactError(IngotError):
    """An artifact is damaged, of an unknown version, or not made for this machine."""


class UntrustedError(ArtifactError):
    """An artifact is not signed by a key that is trusted here, or was changed since it was."""


class DeviceError(IngotError):
    """An accelerator or its driver is missing, is not one that the code is for, or fails."""


class TraceError(IngotError):
    """A file is no trace of Ingot's, is damaged, or cannot be written."""


class InputError(IngotError, ValueError):
    """An input given to a session has a wrong name, shape or dtype."""


class MemoryLimitError(InputError):
    """Inputs need more memory than a session may take."""


@contextlib.contextmanager
def own_errors() -> Iterator[None]:
    """Turns what Python raises when memory or its stack ends into an error of Ingot's.

    Raises:
        ModelError: There was no memory left, or something is nested too deep.
    """
    try:
        yield
    except MemoryError as error:
        raise ModelError("there is no memory left: give smaller sizes, or free some") from error
    except RecursionError as error:
        raise ModelError("the model is nested too deep") from error


def one_line(text: str) -> str:
    """Returns text as a line of bounded length: line breaks escaped, what is too long cut."""
    line = "\\n".join(text[: LONGEST_MESSAGE + 1].splitlines())
    return line if len(line) <= LONGEST_MESSAGE else f"{line[:LONGEST_MESSAGE]}…"


def first_line(error: BaseException) -> str:
    """Returns the first line that an error of another library says, or its type if it says none."""
    lines = (line.strip() for line in str(error).splitlines())
    return next((line for line in lines if line), type(error).__name__)


def signal_name(number: int) -> str:
    """Returns the name of the signal that ended a process, or its number if it has none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def root_cause(error: BaseException) -> BaseException:
    """Returns the innermost cause of an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
