"""Slowness and noise in the process that is measured, not in what was measured of it.

A module ``sitecustomize`` on the search path of child processes makes every inference of the
worker that runs an artifact take longer. Its process is told apart by its command line.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

_MODULE = """
import sys
if "ingot.report.workers.ingot" in sys.orig_argv:
    import math, os, random, time
    import ingot.runtime
    milliseconds, noise, seed = os.environ["TEST_SLOWNESS"].split(",")
    seconds = float(milliseconds) / 1e3 * math.exp(random.Random(seed).gauss(0.0, float(noise)))
    run = ingot.runtime.Session.run

    def slower(self, *arguments, **options):
        answer = run(self, *arguments, **options)
        time.sleep(seconds)
        return answer

    ingot.runtime.Session.run = slower
"""

Slow = Callable[..., None]


@pytest.fixture
def slowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slow:
    """``slowed(milliseconds, noise=0.1, seed=3)``: processes from now on take so long longer.

    ``noise`` is the standard deviation of the logarithm, drawn once per process from ``seed``.
    """
    folder = tmp_path / "slowness"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_MODULE)
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)

    def slow(milliseconds: float, *, noise: float = 0.0, seed: int = 0) -> None:
        monkeypatch.setenv("TEST_SLOWNESS", f"{milliseconds},{noise},{seed}")

    return slow
