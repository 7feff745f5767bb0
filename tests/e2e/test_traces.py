"""A trace of a real run: by the documented schema, in figures, and as a page in a browser."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from playwright.sync_api import Browser

from ingot import profiling
from ingot.compiler.build import compile_model
from tests.command_line import Ingot

SCHEMA = Path(__file__).resolve().parents[2] / "docs/trace.schema.json"
STAGES = {"run", "bind", "execute"}


@pytest.fixture(scope="module")
def path(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two threads that share a session, and an inference of each request of theirs."""
    folder = tmp_path_factory.mktemp("run")
    shapes = {"image": (1, 3, 16, 16)}
    artifact = compile_model(small_model, folder / "small.ingot", shapes=shapes)
    image = np.zeros((1, 3, 16, 16), np.float32)

    def requests(name: str) -> None:
        for index in range(60):
            with profiling.request(f"{name}-{index}"), profiling.event("serve"):
                session.run({"image": image})

    with profiling.start("a real run", kernels=True) as recorded:
        with artifact.session(threads=1) as session:
            callers = [threading.Thread(target=requests, args=(name,)) for name in ("a", "b")]
            for caller in callers:
                caller.start()
            for caller in callers:
                caller.join()
        profiling.mark("done")
    return recorded.save(folder / "run.json")


def test_it_is_by_the_documented_schema(path: Path) -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.validate(json.loads(path.read_text()), schema)


def test_its_summary_has_stages_requests_and_kernels_with_their_roofline(
    ingot: Ingot, path: Path
) -> None:
    document = json.loads(ingot("trace", path, "--json").out)
    summary = document["summary"]
    assert (summary["session"], summary["requests"], summary["dropped"]) == ("a real run", 120, 0)
    counts = {row["name"]: row["count"] for row in summary["stages"]}
    assert {counts[stage] for stage in STAGES} == {120}
    assert counts["serve"] == 120
    assert sum(row["share"] for row in summary["stages"]) == pytest.approx(1)
    assert document["roofline"]["threads"] == 1
    kernels = document["kernels"]
    assert any("conv2d" in row["operators"] for row in kernels)
    assert all(row["calls"] % 120 == 0 for row in kernels)
    assert all(row["percent_of_roofline"] > 0 for row in kernels if row["gops"])
    table = ingot("trace", path, "--request", "a-7")
    assert " 1 request, " in table.out
    assert "This machine now, on 1 thread" in table.out


def test_its_page_works_in_a_browser(
    ingot: Ingot, path: Path, tmp_path: Path, browser: Browser
) -> None:
    assert ingot("trace", path, "--html", tmp_path / "page.html").code == 0
    page = browser.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_selector("#rows tr")
    shown = page.eval_on_selector_all("#rows th button", "all => all.map(e => e.textContent)")
    assert {"serve", *STAGES} <= set(shown)
    page.focus("#canvas")
    page.keyboard.press("n")
    assert page.text_content("#details h3")
    page.close()
    assert wrong == []
