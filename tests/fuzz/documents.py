"""Mutants of recipes, budgets and traces."""

from __future__ import annotations

import contextlib
import io
import json
import random
from pathlib import Path

from ingot.cli.main import main
from ingot.compiler.quantization import make_passes
from ingot.compiler.recipe import load_recipe
from ingot.errors import IngotError
from ingot.report.budgets import load_budget
from ingot.targets.registry import parse_target
from tests.fuzz.forkserver import RAN
from tests.fuzz.mutation import change_tree, changed_bytes, changed_text
from tests.report.traces.sample import session_trace

_GIB = 1 << 30
_TOML = """name = "lean"
target = "cpu:threads=2"
simplify = true
passes = ["cleanup", { name = "fusion.conv-batch-norm" }, "fusion.activation"]
shapes = { image = [1, 3, 32, 32] }

[verify]
enabled = true
seed = 3
rtol = 1e-4
"""
_YAML = """name: lean
target: cpu:threads=2
passes:
  - cleanup
  - name: quantization.quantize
    options: {per_channel: true}
  - fusion
shapes:
  image: [1, 3, 32, 32]
verify: {enabled: true, seed: 3, rtol: 0.0001}
fallback: false
"""
_BUDGET = """[net]
size_mb = 1.5
latency_ms = 2.0
accuracy_loss = 0.5

[other]
size_mb = 3
"""


class Recipes:
    """A recipe or a file of budgets, TOML or YAML, with some text of it changed."""

    memory = 2 * _GIB
    seconds = 30.0

    def __init__(self, folder: Path) -> None:
        for suffix, text in ("toml", _TOML), ("yaml", _YAML):
            path = folder / f"whole.{suffix}"
            path.write_text(text)
            recipe = load_recipe(path)
            parse_target(recipe.target)

    def judge(self, seed: int, folder: Path) -> str:
        dice = random.Random(seed)
        suffix, text = dice.choice([("toml", _TOML), ("yaml", _YAML), ("budget", _BUDGET)])
        changed = changed_text(text, dice)
        if suffix == "budget":
            path = folder / "mutant.toml"
            path.write_bytes(changed)
            load_budget(path, "net")
            return RAN
        path = folder / f"mutant.{suffix}"
        path.write_bytes(changed)
        recipe = load_recipe(path)
        make_passes(recipe, parse_target(recipe.target), None)
        return RAN


class Traces:
    """A trace of a session, or one of another program, changed as bytes or as JSON."""

    memory = 2 * _GIB
    seconds = 30.0

    def __init__(self, folder: Path) -> None:
        own = session_trace(6, cpu="Z80", estimates=True)
        self._json = own.save(folder / "own.json").read_bytes()
        self._packed = own.save(folder / "own.json.gz").read_bytes()
        events = json.loads(self._json)["traceEvents"]
        self._foreign = json.dumps(events).encode()
        # What is imported only now is not imported by every child.
        by_command("trace", str(folder / "own.json"), "--html", str(folder / "page.html"))

    def judge(self, seed: int, folder: Path) -> str:
        dice = random.Random(seed)
        text = dice.choice([self._json, self._foreign])
        path = folder / "mutant.json"
        match dice.randrange(4):
            case 0:
                path = folder / "mutant.json.gz"
                path.write_bytes(changed_bytes(self._packed, dice))
            case 1:
                path.write_bytes(changed_bytes(text, dice))
            case _:
                tree = json.loads(text)
                for _ in range(dice.choice([1, 1, 2])):
                    change_tree(tree, dice)
                path.write_text(json.dumps(tree))
        return by_command("trace", str(path), "--html", str(folder / "page.html"))


def by_command(*arguments: str) -> str:
    """What a command comes to.

    Raises:
        IngotError: It has told an error of Ingot's own.
    """
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        code = main(list(arguments))
    text = said.getvalue().strip()
    if code == 0:
        return RAN
    if "unexpected" in text or "Traceback" in text or code not in (1, 2):
        return f"exit code {code}: {text[:300]}"
    raise IngotError(text.splitlines()[-1])
