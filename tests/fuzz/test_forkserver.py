"""What goes wrong with a mutant is found, told from the others, and harms nobody."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from ingot.errors import IngotError
from tests.fuzz.forkserver import RAN, RIGHT, run_mutants


class Sample:
    """One mutant of each way to go wrong among many that go right."""

    memory = 256 << 20
    seconds = 2.0

    def judge(self, seed: int, folder: Path) -> str:
        (folder / "mutant").write_bytes(b"left here")
        match seed:
            case 3:
                os.kill(os.getpid(), signal.SIGSEGV)
            case 4:
                time.sleep(3600)
            case 70:
                np.ones(1 << 40)
            case 71:
                raise KeyError("foreign")
            case 72:
                return "it gives another result"
            case 73:
                error = IngotError()
                error.args = ("two\nlines",)
                raise error
            case 74:
                raise SystemExit(3)
            case 75:
                os._exit(3)
        if seed % 5 == 0:
            raise IngotError("refused")
        return RIGHT if seed % 2 else RAN


def test_each_finding_is_told(tmp_path: Path) -> None:
    outcomes = run_mutants(Sample(), range(200), tmp_path, workers=2)
    assert outcomes.findings.keys() == {3, 4, 70, 71, 72, 73, 74, 75}
    assert "SIGSEGV" in outcomes.findings[3]
    assert "does not come to an end within 2 s" in outcomes.findings[4]
    assert "MemoryError" in outcomes.findings[70]
    assert "KeyError: \"'foreign'\" at test_forkserver.py" in outcomes.findings[71]
    assert outcomes.findings[72] == "it gives another result"
    assert "an error of 2 lines" in outcomes.findings[73]
    assert "SystemExit" in outcomes.findings[74]
    assert "exit code 3" in outcomes.findings[75]
    assert outcomes.counts == {"refused": 38, RIGHT: 77, RAN: 77}
    assert list(tmp_path.iterdir()) == []


def test_the_same_numbers_come_to_the_same(tmp_path: Path) -> None:
    first = run_mutants(Sample(), range(5, 70), tmp_path, workers=1)
    again = run_mutants(Sample(), range(5, 70), tmp_path, workers=3)
    assert first.counts == again.counts
    assert first.findings == again.findings == {}
