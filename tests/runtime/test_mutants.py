"""A damaged artifact, whatever is wrong with it, gives the right result or one line of our own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ingot.compiler.build import Artifact
from ingot.runtime.session import Session
from tests.runtime.mutants import Mutants

# Answers each path that comes in by what came of loading, running and inspecting it.
PROGRAM = """
import contextlib, io, resource, sys
from pathlib import Path
import numpy as np
from ingot.cli.inspect import inspect
from ingot.errors import ArtifactError
from ingot.runtime import Session

resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
stored = np.load(sys.argv[1])
for line in sys.stdin:
    try:
        with Session(line.rstrip("\\n"), threads=1) as session:
            outputs = session.run({"image": stored["image"]})
        names = list(outputs) == ["logits"]
        same = names and np.array_equal(outputs["logits"], stored["logits"])
        with contextlib.redirect_stdout(io.StringIO()):
            inspect(Path(line.rstrip("\\n")), as_json=False)
        print("right" if same else "wrong", flush=True)
    except ArtifactError as error:
        several = len(str(error).splitlines()) != 1 or len(str(error)) > 600
        print("several lines" if several else "refused", flush=True)
    except Exception as error:
        print("foreign", type(error).__name__, repr(error)[:200], flush=True)
"""


class Judge:
    """A process that loads and runs artifacts, on which nothing of what it is given may tell."""

    def __init__(self, stored: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(stored)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def outcome(self, path: Path) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip() or f"ended with {self._process.wait()}"

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def judge(small_artifact: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    image = np.random.default_rng(1).normal(size=(2, 3, 16, 16)).astype(np.float32)
    stored = tmp_path_factory.mktemp("judge") / "stored.npz"
    with Session(small_artifact.path, threads=1) as session:
        np.savez(stored, image=image, **session.run(image))
    started = Judge(stored)
    yield started
    started.close()


@pytest.mark.parametrize(
    "seeds",
    [range(200), pytest.param(range(200, 6000), marks=pytest.mark.slow)],
    ids=["few", "many"],
)
def test_mutants_are_refused_or_right(
    small_artifact: Artifact, judge: Judge, tmp_path: Path, seeds: range
) -> None:
    mutants = Mutants(small_artifact.path)
    path = tmp_path / "mutant.ingot"
    outcomes = {}
    for seed in seeds:
        path.write_bytes(mutants.make(seed))
        outcomes[seed] = judge.outcome(path)
    assert {seed: said for seed, said in outcomes.items() if said not in ("right", "refused")} == {}
    assert 0 < list(outcomes.values()).count("right") < len(outcomes) / 2
