"""What a check finds, and the machine that it looks at."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

# From what stops work or multiplies latency, to what is felt under load or by few models only.
Cost: TypeAlias = Literal["much", "some", "little"]

_PAUSE_SECONDS = 0.3


@dataclasses.dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        check: What was looked at.
        state: ``good``; ``costs`` speed; or ``unknown`` where it could not be read.
        found: What is there, in one line.
        cost: How much speed; None unless the state is ``costs``.
        advice: What to do; empty where there is nothing to do.
        command: The command that does it; empty where there is none.
    """

    check: str
    state: Literal["good", "costs", "unknown"]
    found: str
    cost: Cost | None = None
    advice: str = ""
    command: str = ""


def good(check: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(check, "good", found)


def unknown(check: str, found: str) -> Finding:
    """It cannot be told."""
    return Finding(check, "unknown", found)


def costs(check: str, cost: Cost, found: str, advice: str, command: str = "") -> Finding:
    """It costs speed, and this is what to do."""
    return Finding(check, "costs", found, cost, advice, command)


def _own_affinity() -> frozenset[int]:
    return frozenset(os.sched_getaffinity(0))


@dataclasses.dataclass(frozen=True)
class Machine:
    """Where checks read.

    Attributes:
        root: Where ``/proc`` and ``/sys`` are.
        environment: The variables of the environment.
        affinity: The CPUs that the process may run on.
        pause: Lets a moment pass between two looks at what counts up.
    """

    root: Path = Path("/")
    environment: Mapping[str, str] = dataclasses.field(default_factory=lambda: dict(os.environ))
    affinity: frozenset[int] = dataclasses.field(default_factory=_own_affinity)
    pause: Callable[[], None] = lambda: time.sleep(_PAUSE_SECONDS)

    def has(self, path: str) -> bool:
        """Whether there is such a file."""
        return (self.root / path).exists()

    def read(self, path: str) -> str:
        """The text of a file, without the spaces around it.

        Raises:
            OSError: It cannot be read.
        """
        return (self.root / path).read_text(encoding="utf-8", errors="replace").strip()

    def number(self, path: str) -> int:
        """The integer that a file says.

        Raises:
            OSError: It cannot be read.
            ValueError: It says something else.
        """
        return int(self.read(path))

    def fields(self, path: str) -> dict[str, str]:
        """The lines of a file by their first word, its colon left out.

        Raises:
            OSError: It cannot be read.
        """
        pairs = (line.split(None, 1) for line in self.read(path).splitlines() if line.strip())
        return {pair[0].rstrip(":"): pair[1] if len(pair) > 1 else "" for pair in pairs}

    def cpu_files(self, name: str) -> Iterator[tuple[int, str]]:
        """Each CPU of the affinity that has a file, and what it says."""
        for cpu in sorted(self.affinity):
            path = f"sys/devices/system/cpu/cpu{cpu}/{name}"
            if self.has(path):
                yield cpu, self.read(path)


def cpu_list(text: str) -> frozenset[int]:
    """The CPUs of a list such as ``0-3,8``."""
    cpus: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    return frozenset(cpus)


def as_list(cpus: frozenset[int]) -> str:
    """CPUs as such a list, each by itself."""
    return ",".join(map(str, sorted(cpus)))
