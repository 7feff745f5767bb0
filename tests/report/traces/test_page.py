"""The page: one file, true to the trace, and it works in a browser."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from ingot.profiling import Counter
from ingot.report.rendering import formats
from ingot.report.traces.comparison import compare_traces
from ingot.report.traces.events import Trace
from ingot.report.traces.kernels import Peaks, kernel_figures
from ingot.report.traces.page import render_page
from ingot.report.traces.reading import read_trace
from ingot.report.traces.summary import summarize
from tests.report.traces.sample import chrome, complete, session_trace

HOSTILE = "</script><script>document.title='taken'</script><b>&amp;\u2028'\""


def rendered(trace: Trace, **others) -> str:
    return render_page(trace, summarize(trace), title="t.json", **others)


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    path = tmp_path_factory.mktemp("trace") / "t.json"
    return read_trace(session_trace(120, estimates=True).save(path))


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[Page]:
    """A page that may load nothing but its file, and whose script must not fail."""
    opened = browser.new_page(viewport={"width": 1300, "height": 1000}, reduced_motion="reduce")
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda message: wrong.append(message.text))
    opened.on(
        "request",
        lambda request: None if request.url.startswith("file:") else wrong.append(request.url),
    )
    yield opened
    opened.close()
    assert wrong == []


def show(page: Page, text: str, folder: Path) -> None:
    path = folder / "page.html"
    path.write_text(text)
    page.goto(path.as_uri())
    page.wait_for_selector("#rows tr, #flame p")


def settled(page: Page) -> None:
    """Waits until figures follow the view."""
    page.wait_for_timeout(250)


def cells(page: Page) -> list[list[str]]:
    rows = page.eval_on_selector_all(
        "#rows tr", "rows => rows.map(row => [...row.children].map(cell => cell.textContent))"
    )
    return [[cell.strip() for cell in row] for row in rows]


def in_view(page: Page) -> str:
    return page.text_content("#range") or ""


def test_all_is_in_the_file(trace: Trace) -> None:
    text = rendered(trace)
    assert not re.search(
        r"(?:src|href)=[\"'](?!#)|https?://|url\((?!data:)|@import|\bfetch\(", text
    )
    assert "default-src 'none'" in text


def test_data_of_the_page(trace: Trace) -> None:
    text = rendered(trace)
    data = json.loads(re.search(r'id="trace-data">(.*?)</script>', text, re.DOTALL)[1])
    events = data["events"]
    assert {len(column) for column in events.values()} == {len(trace.events)}
    at, starts = 0, []
    for step in events["start"]:
        at += step
        starts.append(at)
    assert starts == [event.start for event in trace.events]
    parents = [i - back if back else -1 for i, back in enumerate(events["parent"])]
    assert parents == [event.parent for event in trace.events]
    names = [data["stages"][stage][1] for stage in events["stage"]]
    assert names == [event.name for event in trace.events]
    assert [lane["name"] for lane in data["lanes"]] == ["MainThread", "worker", "worker: estimates"]
    assert data["flows"]["req-0"] == [[0, 3_200_001], [1, 3_230_001]]
    assert data["counters"][0]["name"] == "queue: length"


def test_what_is_no_finite_number_hinders_nothing(tmp_path: Path) -> None:
    odd = Counter("metric", "ratio", 5, 11, {"value": math.inf, "other": 1.0})
    trace = dataclasses.replace(session_trace(1), counters=(odd,))
    text = rendered(read_trace(trace.save(tmp_path / "own.json")))
    assert '"counters":[{"name":"ratio: other","times":[5],"values":[1.0]}]' in text
    (tmp_path / "t.json").write_text('[{"ph": "X", "ts": 0, "dur": 1, "args": {"x": NaN}}]')
    assert '"arguments":[{},{"x":"NaN"}]' in rendered(read_trace(tmp_path / "t.json"))


def test_a_thread_of_estimates_alone_is_one_lane(tmp_path: Path) -> None:
    events = [complete("run", 0, 5), complete("npu", 1, 9, tid=2, args={"estimate": True})]
    found = read_trace(chrome(tmp_path / "t.json", events))
    text = rendered(found)
    data = json.loads(re.search(r'id="trace-data">(.*?)</script>', text, re.DOTALL)[1])
    assert [(lane["name"], lane["rows"], lane["estimate"]) for lane in data["lanes"]] == [
        ("thread 1", 1, False), ("thread 2", 1, True),
    ]  # fmt: skip


def test_kernels_and_another_trace_are_told(trace: Trace, tmp_path: Path) -> None:
    text = rendered(
        trace,
        kernels=kernel_figures(trace, None),
        peaks=Peaks(reason="There are no peaks."),
        compared=compare_traces([trace], [trace]),
        against="other.json",
    )
    for shown in ("<code>conv2d_relu</code>", "There are no peaks.", "Against other.json", "noise"):
        assert shown in text


def test_figures_in_a_browser_are_those_of_the_summary(page: Page, trace: Trace, tmp_path) -> None:
    show(page, rendered(trace), tmp_path)
    assert in_view(page).startswith("the whole trace")
    expected = [
        [row.name, row.source, f"{row.count:,}"]
        + [formats.duration(us) for us in (row.mean_us, row.p50_us, row.p99_us, row.total_us)]
        + [formats.duration(row.self_us)]
        for row in summarize(trace).stages
    ]
    assert [row[:8] for row in cells(page)] == expected
    # Something is drawn, in more than one colour.
    colours = page.evaluate(
        """() => { const c = document.getElementById("canvas");
        const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
        const found = new Set(); for (let i = 0; i < d.length; i += 4) if (d[i + 3] === 255)
        found.add(`${d[i]},${d[i + 1]},${d[i + 2]}`); return found.size; }"""
    )
    assert colours > 5


def test_the_timeline_zooms_and_pans(page: Page, trace: Trace, tmp_path: Path) -> None:
    show(page, rendered(trace), tmp_path)
    page.focus("#canvas")
    for _ in range(6):
        page.keyboard.press("+")
    settled(page)
    zoomed = in_view(page)
    assert "in view, from" in zoomed
    assert len(cells(page)) < 8 or cells(page)[0][2] != "120"
    page.keyboard.press("ArrowRight")
    settled(page)
    moved = in_view(page)
    assert moved != zoomed
    box = page.locator("#canvas").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] - 10
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 200, y, steps=4)
    page.mouse.up()
    settled(page)
    dragged = in_view(page)
    assert dragged.split(" in view")[0] == moved.split(" in view")[0]
    assert dragged != moved
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    settled(page)
    assert in_view(page).split(" in view")[0] != dragged.split(" in view")[0]
    page.keyboard.press("0")
    settled(page)
    assert in_view(page).startswith("the whole trace")
    strip = page.locator("#overview").bounding_box()
    page.mouse.move(strip["x"] + 300, strip["y"] + 20)
    page.mouse.down()
    page.mouse.move(strip["x"] + 400, strip["y"] + 20, steps=4)
    page.mouse.up()
    settled(page)
    assert "in view, from" in in_view(page)


def test_filters_and_search(page: Page, trace: Trace, tmp_path: Path) -> None:
    show(page, rendered(trace), tmp_path)
    page.locator("#sources label", has_text="session").click()
    settled(page)
    assert {row[1] for row in cells(page)} == {"kernel", "request"}
    page.click("#clear")
    page.select_option("#request", label="req-7")
    settled(page)
    assert sorted(row[0] for row in cells(page)) == [
        "accept", "bind", "conv2d_relu", "copy", "dense", "run", "softmax",
    ]  # fmt: skip
    assert {row[2] for row in cells(page)} == {"1"}
    page.click("#clear")
    page.keyboard.press("/")
    page.keyboard.type("MATMUL")
    settled(page)
    assert page.text_content("#found") == "120 events"
    assert [row[0] for row in cells(page)] == ["dense"]
    assert page.locator("#flame button").all_text_contents() == ["dense"]
    page.keyboard.press("Enter")
    assert "dense" in (page.text_content("#details h3") or "")
    page.fill("#search", "there is none")
    settled(page)
    assert page.text_content("#found") == "nothing found"
    assert cells(page) == []
    page.focus("#canvas")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    settled(page)
    assert len(cells(page)) == 8


def test_events_are_chosen_by_keys_and_by_the_pointer(page: Page, trace: Trace, tmp_path) -> None:
    show(page, rendered(trace), tmp_path)
    page.focus("#canvas")
    page.keyboard.press("n")
    assert "load" in page.text_content("#details h3")
    assert "3.00\u202fms" in page.text_content("#details")
    page.keyboard.press("n")
    assert "accept" in page.text_content("#details h3")
    page.keyboard.press("Escape")
    assert page.text_content("#details") == ""
    page.select_option("#stage", label="run (session)")
    page.focus("#canvas")
    page.keyboard.press("n")
    assert "run" in page.text_content("#details h3")
    page.keyboard.press("f")
    settled(page)
    page.click("#clear")
    page.focus("#canvas")
    page.keyboard.press("ArrowDown")
    assert "bind" in page.text_content("#details h3")
    assert "withinrun" in page.text_content("#details")
    page.keyboard.press("ArrowUp")
    assert "run" in page.text_content("#details h3")
    # The event fills the view: the pointer in its middle is on it.
    box = page.locator("#canvas").bounding_box()
    lane = page.locator("#gutter button", has_text="worker").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, lane["y"] + 14)
    assert "run" in page.text_content("#tip b")
    assert page.is_visible("#tip")
    page.mouse.dblclick(box["x"] + box["width"] / 2, lane["y"] + 34)
    settled(page)
    page.mouse.click(box["x"] + box["width"] / 2, lane["y"] + 34)
    assert "conv2d_relu" in page.text_content("#details h3")
    page.click("text=This request alone")
    settled(page)
    assert page.input_value("#request") == "0"
    page.locator("#gutter button", has_text="MainThread").click()
    assert page.get_attribute("#gutter button >> nth=0", "aria-expanded") == "false"


@pytest.mark.slow
def test_the_flame_graph_fills_its_width_with_a_stage(page: Page, trace: Trace, tmp_path) -> None:
    show(page, rendered(trace), tmp_path)
    assert page.locator("#flame button").all_text_contents()[:2] == ["run", "conv2d_relu"]
    page.locator("#flame button", has_text="conv2d_relu").click()
    assert page.locator("#flame button").all_text_contents() == ["run", "conv2d_relu"]
    page.click("#flame-out")
    assert page.locator("#flame button").count() == 8


@pytest.mark.slow
def test_stages_too_short_for_the_flame_graph_are_drawn_as_one(page: Page, tmp_path: Path) -> None:
    records = [complete(f"stage {i}", 10 * i, 5) for i in range(2000)]
    found = read_trace(chrome(tmp_path / "t.json", [*records, complete("long", 30_000, 5_000)]))
    show(page, rendered(found), tmp_path)
    assert page.locator("#flame button").all_text_contents() == ["long"]
    assert page.locator("#flame .rest").all_text_contents() == ["2,000 more"]
    page.click("text=Show all 2001 stages")
    assert len(cells(page)) == 2001


@pytest.mark.slow
def test_the_table_sorts(page: Page, trace: Trace, tmp_path: Path) -> None:
    show(page, rendered(trace), tmp_path)
    page.click("th[data-key=name] button")
    names = [row[0] for row in cells(page)]
    assert names == sorted(names)
    page.click("th[data-key=name] button")
    assert [row[0] for row in cells(page)] == names[::-1]
    page.click("th[data-key=total] button")
    assert cells(page)[0][0] == "run"
    assert page.get_attribute("th[data-key=total]", "aria-sort") == "descending"


def test_names_are_shown_and_never_obeyed(page: Page, tmp_path: Path) -> None:
    records = [
        complete(HOSTILE, 0, 5, cat=HOSTILE, args={HOSTILE: HOSTILE, "request": HOSTILE}),
        {"ph": "C", "name": HOSTILE, "ts": 1, "pid": 1, "args": {HOSTILE: 1}},
        {"ph": "i", "name": HOSTILE, "ts": 1, "pid": 1, "tid": 1},
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": 1, "args": {"name": HOSTILE}},
    ]
    found = read_trace(chrome(tmp_path / "t.json", records))
    show(page, render_page(found, summarize(found), title=HOSTILE), tmp_path)
    page.focus("#canvas")
    page.keyboard.press("n")
    assert page.title() == f"{HOSTILE}: Ingot trace"
    assert cells(page)[0][0] == HOSTILE
    assert page.text_content("#details h3") == HOSTILE
    assert page.locator("main b").count() == 0


@pytest.mark.slow
@pytest.mark.parametrize("records", [[], [complete("", 0, 0)]])
def test_a_trace_of_little(page: Page, tmp_path: Path, records) -> None:
    found = read_trace(chrome(tmp_path / "t.json", records))
    show(page, rendered(found), tmp_path)
    page.focus("#canvas")
    for key in ("n", "p", "ArrowDown", "ArrowUp", "f", "+", "-", "0", "Escape"):
        page.keyboard.press(key)
    settled(page)


@pytest.mark.slow
def test_it_is_dark_where_that_is_wished_and_fits_a_narrow_window(
    page: Page, trace: Trace, tmp_path: Path
) -> None:
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 420, "height": 800})
    show(page, rendered(trace, kernels=kernel_figures(trace, None)), tmp_path)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", background))) < 60
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_everything_that_can_be_used_has_a_name(page: Page, trace: Trace, tmp_path: Path) -> None:
    show(page, rendered(trace), tmp_path)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, canvas[tabindex]")]
        .filter(e => !(e.textContent.trim() || e.getAttribute("aria-label")
            || (e.labels && [...e.labels].some(l => l.textContent.trim()))))
        .map(e => e.outerHTML)"""
    )
    assert nameless == []
    page.keyboard.press("?")
    assert page.is_visible("#help")
    page.keyboard.press("Escape")
    assert not page.is_visible("#help")


@pytest.mark.slow
def test_a_hundred_thousand_events(page: Page, tmp_path: Path) -> None:
    found = read_trace(session_trace(14_300).save(tmp_path / "big.json.gz"))
    assert len(found.events) > 100_000
    show(page, rendered(found), tmp_path)
    assert "100,101 events" in page.text_content("#figures-range")
    page.focus("#canvas")
    for _ in range(25):
        page.keyboard.press("+")
    page.keyboard.press("n")
    settled(page)
    assert page.text_content("#details h3")
    page.fill("#search", "req-14299")
    page.keyboard.press("Enter")
    settled(page)
    assert page.text_content("#found").startswith("7 events")
