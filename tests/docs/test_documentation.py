"""The documentation is true: its examples run, its links resolve, and it leaves nothing out."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ingot.cli.main import COMMANDS
from ingot.compiler.recipe import NAMED_RECIPES, Recipe, VerifyOptions
from ingot.models.reference import REFERENCE_MODELS
from ingot.passes.registry import available
from ingot.report.budgets import Budget
from ingot.report.thresholds import RATIOS
from ingot.runtime.manifest import Manifest
from ingot.targets.base import Lowered
from ingot.targets.registry import TARGETS
from tests.docs.page import blocks

ROOT = Path(__file__).resolve().parents[2]
RUNNER = Path(__file__).with_name("page.py")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
GUIDE = (ROOT / "docs/guide.md").read_text(encoding="utf-8")
_NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
# The guide goes through every command: a minute or more. What the pages of benchmarks and of the
# microarchitecture call has tests of its own, of the same ways from end to end.
_LONG = {
    "docs/benchmarks.md",
    "docs/budgets.md",
    "docs/guide.md",
    "docs/microarchitecture.md",
    "docs/npu.md",
    "docs/quantization.md",
    "docs/traces.md",
    "docs/troubleshooting.md",
    "docs/tuning.md",
}
_NEEDS_NPU = {"docs/npu.md"}
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")


def runnable(name: str, *, network: bool) -> bool:
    """Whether a page has blocks that do something."""
    page = (ROOT / name).read_text(encoding="utf-8")
    found = [
        block
        for block in blocks(page)
        if block.language in ("python", "console", "sh") and "not run" not in block.directives
    ]
    return any("network" in block.directives for block in found) if network else bool(found)


def run_page(name: str, folder: Path, *options: str) -> None:
    done = subprocess.run(
        [sys.executable, str(RUNNER), str(ROOT / name), str(folder), *options],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in _LONG else [])
        for name in _NAMES
        if runnable(name, network=False)
    ],
)
def test_the_examples_of_a_page_run(name: str, tmp_path: Path) -> None:
    if name in _NEEDS_NPU and importlib.util.find_spec("ethosu") is None:
        pytest.skip("the extra npu is not installed")
    run_page(name, tmp_path)


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("name", [name for name in _NAMES if runnable(name, network=True)])
def test_the_examples_that_need_the_network_run(name: str, tmp_path: Path) -> None:
    run_page(name, tmp_path, "--network")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.M)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=_NAMES)
def test_links_within_the_project_resolve(page: Path) -> None:
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: no such file"
        if anchor:
            assert anchor in anchors(target), f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=_NAMES)
def test_pictures_are_there(page: Path) -> None:
    for picture in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / picture).is_file(), picture


@pytest.mark.parametrize("page", PAGES, ids=_NAMES)
def test_paths_of_the_project_that_are_named_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for path in re.findall(r"`((?:ingot|tests|examples|docs|build_support)/[\w/.\-]+)`", text):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("command", COMMANDS)
def test_the_guide_shows_every_command(command: str) -> None:
    shown = [block.text for block in blocks(GUIDE) if block.language == "console"]
    assert any(f"$ ingot {command}" in text for text in shown)


def test_the_guide_has_every_key_of_a_recipe() -> None:
    keys = {*Recipe.model_fields, *(f"verify.{key}" for key in VerifyOptions.model_fields)}
    for key in keys - {"verify"}:
        assert f"| `{key}` |" in GUIDE, key
    for name in NAMED_RECIPES:
        assert f"`{name}`" in GUIDE, name


def test_the_guide_has_every_pass_target_option_and_reference_model() -> None:
    own = [name for name, cls in available().items() if cls.__module__.startswith("ingot.")]
    for name in own:
        assert f"| `{name}` |" in GUIDE, name
    for kind, target in TARGETS.items():
        assert f"`{kind}`" in GUIDE, kind
        for option in target.options_type.model_fields:
            assert re.search(rf"\b{option}=", GUIDE), option
    for name in REFERENCE_MODELS:
        assert f"`{name}`" in GUIDE, name


def test_the_guide_has_every_quantity_of_a_rule() -> None:
    for quantity in (*RATIOS, "accuracy"):
        assert f"`{quantity}`" in GUIDE, quantity


def test_the_page_on_budgets_has_every_key() -> None:
    page = (ROOT / "docs/budgets.md").read_text(encoding="utf-8")
    for key in Budget.model_fields:
        assert f"| `{key}` |" in page, key


def test_the_architecture_has_every_field_of_the_manifest() -> None:
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    for field in dataclasses.fields(Manifest):
        assert f"`{field.name}`" in page, field.name


def test_the_page_on_targets_has_all_that_lowering_gives() -> None:
    page = (ROOT / "docs/add-a-target.md").read_text(encoding="utf-8")
    for field in dataclasses.fields(Lowered):
        assert f"| `{field.name}` |" in page, field.name
