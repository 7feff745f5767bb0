"""No module of the CPU target has a number that nothing explains."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import ingot.targets.cpu

ROOT = Path(ingot.targets.cpu.__file__).parent
# Coefficients of polynomials, which the functions that use them explain.
FREE = {"vector_math/functions.py"}
MODULES = sorted(
    name for path in ROOT.rglob("*.py") if (name := path.relative_to(ROOT).as_posix()) not in FREE
)


def is_number(value: ast.expr | None) -> bool:
    """Whether a value is made of numbers alone."""
    if value is None:
        return False
    nodes = list(ast.walk(value))
    numbers = [node for node in nodes if isinstance(node, ast.Constant)]
    names = [node for node in nodes if isinstance(node, (ast.Name, ast.Call, ast.Attribute))]
    return (
        bool(numbers)
        and not names
        and all(
            isinstance(node.value, (int, float)) and not isinstance(node.value, bool)
            for node in numbers
        )
    )


def unexplained(source: str) -> Iterator[str]:
    """Names of numbers without a comment at them or above their block, and without a docstring."""
    lines = source.splitlines()
    body = ast.parse(source).body
    for statement, after in zip(body, [*body[1:], None], strict=True):
        targets = (
            statement.targets
            if isinstance(statement, ast.Assign)
            else [statement.target]
            if isinstance(statement, ast.AnnAssign)
            else []
        )
        value = getattr(statement, "value", None)
        if not targets or not isinstance(targets[0], ast.Name) or not is_number(value):
            continue
        documented = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        above = statement.lineno - 1
        while above and lines[above - 1].strip() and not lines[above - 1].startswith(("#", '"')):
            above -= 1
        commented = above > 0 and lines[above - 1].startswith("#")
        if not (documented or commented or "#" in lines[statement.lineno - 1]):
            yield targets[0].id


@pytest.mark.parametrize("module", MODULES)
def test_numbers_are_explained(module: str) -> None:
    assert not list(unexplained((ROOT / module).read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("A = 1\n", ["A"]),
        ("import x\n\n_A: int = 1 << 20\n", ["_A"]),
        ("# Why.\nA = 1\nB = (1, 2)\n", []),
        ("# Of others.\n\nA = 1\n", ["A"]),
        ("A = 1  # why\n", []),
        ('A = 1\n"""Why."""\n', []),
        ('A = "text"\nB = len(A) + 1\nC = True\n', []),
    ],
)
def test_what_counts_as_explained(source: str, found: list[str]) -> None:
    assert list(unexplained(source)) == found
