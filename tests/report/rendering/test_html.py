"""The page: complete, self-contained, and true to the report."""
# ruff: noqa: RUF001 - the page shows ratios with a true multiplication sign

import html.parser
import re
import subprocess
from pathlib import Path

import pytest

from ingot.report.rendering import plots
from ingot.report.rendering.html import render_html
from tests.report.rendering.optimized import optimized_report

VOID = {"meta", "link", "br", "hr", "img", "input", "col", "source", "wbr"}


class Page(html.parser.HTMLParser):
    """Collects tags, ids and text, and holds that every tag is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.ids, self.text = [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text.append(data)

    @property
    def words(self):
        return " ".join("".join(self.text).split())


@pytest.fixture(scope="module")
def report(figures):
    return figures.report()


@pytest.fixture(scope="module")
def text(report):
    """The page of the made-up report, drawn once."""
    return render_html(report)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_the_page_is_well_formed_and_ids_are_unique(page):
    assert len(page.ids) == len(set(page.ids))
    labelled = [value for name, value in page.attributes if name == "aria-labelledby"]
    assert set(labelled) <= set(page.ids)


def test_the_table_has_what_variants_take_of_the_machine(page):
    for told in ("187 %", "42.5 W", "85.0 mJ each", "GPU is not available: no driver."):
        assert told in page.words.replace("\u202f", " ")


def test_the_page_needs_no_network_and_no_script(text, page):
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert not re.search(r"https?:|//[a-z]", text)
    references = [value for name, value in page.attributes if name in ("href", "src")]
    assert references
    assert all(value.startswith("#") for value in references)
    assert all(value[1:] in page.ids for value in references)
    assert "@import" not in text
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", text))


def test_the_page_is_light(text):
    assert len(text) < 1_500_000


def test_the_finding_comes_first(report, page):
    words = page.words
    assert words.index(report.headline) < words.index("Variants")
    for shown in (
        "net",
        "Imaginary 9000",
        "1,300 images of val",
        "2.00×",
        "79.00",
        report.created[:10],
    ):
        assert shown in words


def test_every_plot_is_there_and_drawn_in_the_pages_colours(text, page):
    assert page.tags.count("svg") == 4
    assert "#0102" not in text
    assert "#0203" not in text
    assert "var(--series-1)" in text


def test_marks_tell_their_figures_to_the_pointer(text):
    assert "<title>Ingot fp32: median 2.00 ms, p95 2.20 ms, 100 runs</title>" in text


def test_without_labels_there_is_no_accuracy_plot(figures):
    full = figures.report()
    bare = [variant.model_copy(update={"metrics": ()}) for variant in full.variants]
    text = render_html(full.model_copy(update={"variants": tuple(bare), "data": None}))
    page = Page(text)
    assert page.tags.count("svg") == 3
    assert "Accuracy against latency" not in page.words
    assert "Accuracy, example by example" not in page.words
    assert "±2.0e-06" in page.words


def test_passes_tell_what_they_did_and_why_not(page):
    words = page.words
    assert "fusion.conv-batch-norm" in words
    assert "20 → 17" in words
    assert "-3 BatchNormalization" in words
    assert "pad_1: it reflects" in words
    assert "Found nothing to do: cleanup.dead-code." in words


def test_names_from_a_model_are_text_and_not_markup(figures):
    evil = figures.report(warnings=("<script>alert(1)</script>",))
    text = render_html(evil)
    assert "<script" not in text
    assert "bn&lt;1&gt;" in text


def test_names_are_no_formulas():
    with plots.style():
        drawing, axes = plots.canvas(1.0)
        axes.set_title(r"a$\frac{<b>$ \x1b")
        drawn = plots.svg(drawing, "name", {})
    assert r"a$\frac{&lt;b&gt;$" in drawn


def test_a_failed_check_is_shown(figures):
    check = {
        "rule": "latency>1.1x",
        "variant": "Ingot fp32",
        "value": 1.3,
        "low": 1.2,
        "high": 1.4,
        "failed": True,
        "explanation": "latency of Ingot fp32 is 1.30x the reference's",
    }
    words = Page(render_html(figures.report(checks=(check,)))).words
    assert "Failed latency>1.1x latency of Ingot fp32 is 1.30x the reference's" in words


@pytest.mark.parametrize("count", [1, 2, 7])
def test_many_or_few_variants_are_drawn(figures, count):
    full = figures.report()
    more = [
        full.variants[1].model_copy(update={"name": f"Ingot {index}"}) for index in range(count)
    ]
    page = render_html(full.model_copy(update={"variants": (full.variants[0], *more)}))
    assert f"Ingot {count - 1}" in Page(page).words


def test_times_that_do_not_vary_can_be_drawn(figures):
    full = figures.report()
    flat = full.variants[1].latency.model_copy(update={"rounds": ((2.0,), (2.0,), (2.0,))})
    still = full.variants[1].model_copy(update={"latency": flat})
    few = full.variants[0].latency.model_copy(update={"rounds": ((4.0,), (4.1,), (4.2,))})
    first = full.variants[0].model_copy(update={"latency": few})
    Page(render_html(full.model_copy(update={"variants": (first, still)})))


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 500])
def test_a_browser_shows_the_page_without_sideways_scrolling(text, tmp_path: Path, width, chromium):
    path = tmp_path / "report.html"
    probe = (
        "<script>document.title = 'wide ' + (document.documentElement.scrollWidth - innerWidth)"
        " + ' plots ' + [...document.querySelectorAll('svg')].filter("
        "s => s.getBoundingClientRect().height > 100).length</script></body>"
    )
    path.write_text(text.replace("</body>", probe))
    done = subprocess.run(
        [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={width},2400",
            "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found = re.search(r"<title>wide (-?\d+) plots (\d+)</title>", done.stdout)
    assert found is not None
    assert int(found[1]) <= 0
    assert int(found[2]) == 4


def test_what_an_optimization_tried_is_shown_with_the_reasons(figures):
    words = Page(render_html(optimized_report(figures))).words
    assert "What was tried, and kept where it paid" in words
    assert "it failed: no code" in words and "The data cannot resolve the budget." in words
