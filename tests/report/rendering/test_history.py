"""The page of the history: complete, offline, and true to what was found."""

import re
import shutil
import subprocess

import pytest

from ingot.report.history.changes import CheckSettings, check, series_of
from ingot.report.rendering.history import render_history, write_history
from tests.report.history.conftest import make_found, make_run, make_runs
from tests.report.rendering.test_html import Page

BEFORE = [10.0, 10.1, 9.9, 10.05, 9.95, 10.02, 9.98, 10.1]


def judged(runs, **options):
    return check(series_of(runs), CheckSettings(**options))


@pytest.fixture(scope="module")
def judgements():
    runs = make_runs([*BEFORE, 12.0], error=0.01, commit="0123456789ab")
    runs += make_runs([10.0] * 9, "throughput_per_s", model="<b>&net")
    runs += make_runs([5.0], "size_mb", setting="report, threads=1")
    runs += make_runs([91.0, 92.0], "accuracy top-1")
    runs.append(make_run(make_found("latency_p99_ms", high=None), number=99))
    return judged(runs)


@pytest.fixture(scope="module")
def text(judgements):
    return render_history(judgements)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_the_page_is_well_formed_and_needs_nothing_else(text, page):
    assert len(page.ids) == len(set(page.ids))
    labelled = [value for name, value in page.attributes if name == "aria-labelledby"]
    assert len(labelled) == 5
    assert set(labelled) <= set(page.ids)
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert not re.search(r"https?:|//[a-z]|@import", text)
    references = [value for name, value in page.attributes if name in ("href", "src")]
    assert all(value.startswith("#") and value[1:] in page.ids for value in references)


def test_outcomes_are_counted_and_told(page):
    for shown in (
        "1 worse", "1 better", "1 as before", "2 not enough runs", "<b>&net, fp32",
        "median latency of an inference", "Worse 12 ms, usual is 10.01 over 8 runs: +19.", "Better",
        "5 MB; no earlier runs to hold it against", "3 series of figures on 1 kind of machine",
    ):  # fmt: skip
        assert shown in page.words, shown


def test_every_run_tells_its_figures_to_the_pointer(text):
    assert (
        "<title>run 9, 2026-11-30T10:00:00+00:00, commit 0123456789ab: 12 ms (11.77 to 12.24)"
        "</title>" in text
    )
    assert text.count("<title>run ") == 9 + 9 + 1 + 2 + 1


def test_drawn_are_the_pages_colours(text):
    assert "#0203" not in text
    assert "var(--series-1)" in text


def test_it_is_written_whole(judgements, tmp_path):
    write_history(judgements, tmp_path / "history.html")
    assert (tmp_path / "history.html").read_text() == render_history(judgements)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_a_browser_shows_it_without_sideways_scrolling(text, tmp_path):
    path = tmp_path / "history.html"
    probe = (
        "<script>document.title = 'wide ' + (document.documentElement.scrollWidth - innerWidth)"
        " + ' plots ' + [...document.querySelectorAll('svg')].filter("
        "s => s.getBoundingClientRect().height > 100).length</script></body>"
    )
    path.write_text(text.replace("</body>", probe))
    done = subprocess.run(
        [
            "chromium", "--headless", "--no-sandbox", "--disable-gpu",
            "--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}",
            "--window-size=500,2400", "--virtual-time-budget=2000", "--dump-dom", path.as_uri(),
        ],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    found = re.search(r"<title>wide (-?\d+) plots (\d+)</title>", done.stdout)
    assert found is not None
    assert int(found[1]) <= 0
    assert int(found[2]) == 5
