"""A browser for pages. `make test` installs one where it may (`build_support/install_browser.sh`).

Where there is none, tests that need it are skipped with that reason, and fail in `make test-all`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.examples import EXPLORING, PROFILE

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Chromium, or of a browser that is made of it."""
    for program in _PROGRAMS:
        found = shutil.which(program)
        if found is not None:
            return found
    missing = f"no browser is installed (looked for {', '.join(_PROGRAMS)}): install chromium"
    if PROFILE == EXPLORING:
        pytest.fail(missing)
    pytest.skip(missing)


# Not for the whole session: as long as its driver lives, this thread has a running event loop.
@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """A browser that shows no window and has no network."""
    # Here, since this module is imported by all tests.
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-background-networking"]
        )
        yield started
        started.close()
