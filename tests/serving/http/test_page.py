"""The page at ``/``, in a browser."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ingot.compiler.build import Artifact
from tests.serving.running import Running, running

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def test_it_shows_models_and_figures_and_tries_one(served: Running, browser: Browser) -> None:
    page = browser.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    page.goto(served.url)
    row = page.locator("#models tr", has_text="small")
    row.get_by_text("image: FP32[·, 3, 16, 16]").wait_for()
    assert "ready" in row.inner_text()
    page.get_by_role("button", name="Ask").click()
    page.get_by_text('"logits"').wait_for()
    answered = page.locator("#figures tr", has_text="small").locator("td").nth(2)
    answered.filter(has_text=re.compile("^[1-9]")).wait_for()
    page.get_by_label("Request").fill('{"inputs": []}')
    page.get_by_role("button", name="Ask").click()
    page.get_by_text("image is missing").wait_for()
    assert [each for each in problems if "400" not in each] == []
    page.close()


def test_it_asks_for_the_token(small_artifact: Artifact, browser: Browser) -> None:
    with running(f"small={small_artifact.path}", "--token", "secret") as server:
        page = browser.new_page()
        page.goto(server.url)
        page.get_by_role("alert").get_by_text("token is needed").wait_for()
        page.get_by_label("Bearer token").fill("secret")
        page.locator("#models tr", has_text="small").get_by_text("image: FP32").wait_for()
        page.close()
