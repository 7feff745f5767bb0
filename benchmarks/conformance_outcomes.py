"""What may come of a case of the conformance suite."""

from __future__ import annotations

import dataclasses
from enum import Enum

# Characters of a reason.
_LONGEST = 300


class Kind(str, Enum):
    """What came of a case, from best to worst; the first four are all that may come of one.

    Where ONNX Runtime and the suite differ, which later versions of onnx have settled either way,
    Ingot may compute what ONNX Runtime does.
    """

    COMPILED = "compiled"
    REGION = "region"
    REFUSED = "refused"
    DISPUTED = "as ONNX Runtime"
    WRONG = "wrong"
    FOREIGN = "foreign exception"
    HANG = "hang"
    CRASH = "crash"


PASSED = (Kind.COMPILED, Kind.REGION)
ALLOWED = (*PASSED, Kind.REFUSED, Kind.DISPUTED)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a case, and why where it did not pass: one line."""

    kind: Kind
    reason: str = ""


def one_line(error: BaseException) -> str:
    """The first line of what an error says, or its type's name; not too much of it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return shortened(lines[0] if lines else type(error).__name__)


def shortened(text: str) -> str:
    """A reason of at most some hundred characters."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
