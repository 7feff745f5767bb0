"""Judges mutants in forked children with limits of memory and time.

The process that forks has imported and prepared everything, so that a child begins in milliseconds.
A child judges mutants one after the other and says what came of each; one that ends, hangs or runs
out of memory is told from the mutant that it had not answered for, and the next child goes on with
the one after it.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import faulthandler
import json
import os
import resource
import selectors
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from ingot.errors import IngotError, signal_name

RIGHT, RAN, REFUSED = "right", "ran", "refused"
"""What a mutant may come to: the original's result; one of its own, where it is whole and says
something else; an error of Ingot's own, in one line."""
GOOD = (RIGHT, RAN, REFUSED)
_BATCH = 64
_LONGEST_MESSAGE = 2500
_PR_SET_PDEATHSIG = 1


class Kind(Protocol):
    """A kind of mutants.

    Attributes:
        memory: Bytes that a child may reserve beyond what was prepared.
        seconds: How long a mutant may take.
    """

    memory: int
    seconds: float

    def judge(self, seed: int, folder: Path) -> str:
        """Makes the mutant of a number and hands it to Ingot; called in a child.

        Args:
            seed: The number.
            folder: An empty folder of the child's own.

        Returns:
            ``right`` or ``ran``; anything else says what is wrong.

        Raises:
            IngotError: Ingot has refused it.
        """


@dataclasses.dataclass
class Outcomes:
    """What came of the mutants of a kind.

    Attributes:
        counts: Mutants by good outcome.
        findings: What is wrong, by the mutant's number.
        elapsed: Seconds that they took.
    """

    counts: Counter[str]
    findings: dict[int, str]
    elapsed: float


class _Child:
    """A process that judges a batch."""

    def __init__(self, kind: Kind, seeds: list[int], scratch: Path) -> None:
        self.left = deque(seeds)
        self.folder = Path(tempfile.mkdtemp(dir=scratch))
        reading, writing = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(reading)
            _judge_all(kind, seeds, writing, self.folder)
        os.close(writing)
        self.reading = reading
        self.deadline = time.monotonic() + kind.seconds
        self._text = b""

    def answers(self) -> Iterator[tuple[int, str]] | None:
        """What it has said since the last call; None once it has ended."""
        text = os.read(self.reading, 1 << 16)
        if not text:
            return None
        *lines, self._text = (self._text + text).split(b"\n")
        return (tuple(json.loads(line)) for line in lines)

    def end(self) -> str:
        """Waits for its end; returns how it ended."""
        os.close(self.reading)
        _, status = os.waitpid(self.pid, 0)
        shutil.rmtree(self.folder, ignore_errors=True)
        if os.WIFSIGNALED(status):
            return f"it ends its process ({signal_name(os.WTERMSIG(status))})"
        return f"it ends its process (exit code {os.WEXITSTATUS(status)})"


def run_mutants(kind: Kind, seeds: Iterable[int], scratch: Path, *, workers: int = 1) -> Outcomes:
    """Judges mutants.

    Args:
        kind: What they are of.
        seeds: Their numbers.
        scratch: A folder for what they leave.
        workers: How many children judge at a time.
    """
    started = time.monotonic()
    outcomes = Outcomes(Counter(), {}, 0.0)
    waiting = deque(seeds)
    children: dict[int, _Child] = {}
    with selectors.DefaultSelector() as selector:
        try:
            while waiting or children:
                while waiting and len(children) < workers:
                    batch = [waiting.popleft() for _ in range(min(_BATCH, len(waiting)))]
                    child = _Child(kind, batch, scratch)
                    children[child.reading] = child
                    selector.register(child.reading, selectors.EVENT_READ)
                for key, _ in selector.select(timeout=0.2):
                    _listen(children, key.fd, kind, outcomes, waiting, selector)
                for child in list(children.values()):
                    if time.monotonic() > child.deadline:
                        os.kill(child.pid, signal.SIGKILL)
                        said = f"it does not come to an end within {kind.seconds:.0f} s"
                        _give_up(children, child, said, outcomes, waiting, selector)
        finally:
            for child in children.values():
                os.kill(child.pid, signal.SIGKILL)
                child.end()
    outcomes.elapsed = time.monotonic() - started
    return outcomes


def _listen(
    children: dict[int, _Child],
    reading: int,
    kind: Kind,
    outcomes: Outcomes,
    waiting: deque[int],
    selector: selectors.BaseSelector,
) -> None:
    child = children[reading]
    answers = child.answers()
    if answers is None:
        _give_up(children, child, "", outcomes, waiting, selector)
        return
    for seed, said in answers:
        assert seed == child.left.popleft()
        child.deadline = time.monotonic() + kind.seconds
        if said in GOOD:
            outcomes.counts[said] += 1
        else:
            outcomes.findings[seed] = said


def _give_up(
    children: dict[int, _Child],
    child: _Child,
    said: str,
    outcomes: Outcomes,
    waiting: deque[int],
    selector: selectors.BaseSelector,
) -> None:
    """Lets a child go; the mutant that it was at is a finding, and those behind it wait again."""
    selector.unregister(child.reading)
    del children[child.reading]
    ended = child.end()
    if child.left:
        outcomes.findings[child.left.popleft()] = said or ended
        waiting.extendleft(reversed(child.left))


def judged(kind: Kind, seed: int, folder: Path) -> str:
    """What comes of a mutant: one of ``GOOD``, or what is wrong."""
    try:
        return kind.judge(seed, folder)
    except IngotError as error:
        message = str(error)
        if len(message.splitlines()) != 1 or len(message) > _LONGEST_MESSAGE:
            return f"an error of {len(message.splitlines())} lines, {len(message)} characters"
        return REFUSED
    except MemoryError:
        return "foreign: MemoryError"
    except BaseException as error:  # whatever it is: that is the question
        frames = traceback.extract_tb(error.__traceback__)
        places = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames[-4:]))
        return f"foreign: {type(error).__name__}: {str(error)[:200]!r} at {places}"


def _judge_all(kind: Kind, seeds: list[int], writing: int, folder: Path) -> None:
    """Judges a batch and ends the process."""
    try:
        faulthandler.disable()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + kind.memory
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        for seed in seeds:
            own = folder / str(seed)
            own.mkdir()
            line = json.dumps([seed, judged(kind, seed, own)]) + "\n"
            shutil.rmtree(own, ignore_errors=True)
            os.write(writing, line.encode())
    finally:
        with contextlib.suppress(OSError):
            os.close(writing)
        os._exit(0)
