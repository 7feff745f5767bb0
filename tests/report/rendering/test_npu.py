"""NPUs in the pages: estimates that say so, in tables and plots of their own."""

import re

import pytest

from ingot.report.rendering import npu
from ingot.report.rendering.html import render_html
from ingot.report.rendering.markdown import render_markdown
from tests.report.rendering.test_html import Page
from tests.report.rendering.test_markdown import tables


@pytest.fixture(scope="module")
def report(figures):
    """Two NPUs beside what was timed; the headline is of what was timed."""
    first = figures.npu()
    second = figures.npu("Ingot int8 on ethos-u85-256", cycles=6000, inferences_per_second=1e5)
    plain = figures.report()
    told = f"{first.name} is estimated.", f"{second.name} is estimated."
    return figures.report(npu=(first, second), verdicts=(*plain.verdicts, *told))


@pytest.fixture(scope="module")
def text(report):
    return render_html(report)


def test_the_page_is_well_formed(text):
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    labelled = [value for name, value in page.attributes if name == "aria-labelledby"]
    assert set(labelled) <= set(page.ids)
    assert page.tags.count("svg") == 6
    assert "#0203" not in text


def test_the_page_tells_the_estimates_and_whose_they_are(text):
    words = Page(text).words
    for shown in (
        "estimates of Vela 5.2.0, not measured times",
        "12,345",
        "40,502",
        "51.0 kB",
        "98.7",
        "Ethos_U55_High_End_Embedded, Shared_Sram",
        "odd (Erf): it is not between integers",
        "Conv2D, Clamp",
        "fc<1>",
    ):
        assert shown in words


def test_no_estimate_is_in_the_table_of_what_was_timed(text):
    measured = re.search(r"<h2>Variants</h2>.*?</table>", text, re.DOTALL).group(0)
    assert "ethos" not in measured
    estimated = re.search(r"<h2>On NPUs: estimates</h2>.*?</table>", text, re.DOTALL).group(0)
    assert "ONNX Runtime" not in estimated
    assert "Median" not in estimated


def test_accuracies_are_compared_whoever_computed_them(text):
    accuracy = re.search(r"<h2>Accuracy, example by example</h2>.*?</table>", text, re.DOTALL)
    assert "ONNX Runtime fp32" in accuracy.group(0)
    assert "ethos-u85-256" in accuracy.group(0)


def test_a_report_on_npus_alone_has_their_tiles(figures):
    reference = figures.report().variants[0]
    entry = figures.npu()
    sentence = f"{entry.name} is estimated."
    report = figures.report(
        variants=(reference,), npu=(entry,), headline=sentence, verdicts=(sentence,)
    )
    words = Page(render_html(report)).words
    assert "Estimated per second 40,502 12,345 cycles at 500 MHz" in words
    assert "On the NPU 98.7% of the multiply-adds; nodes left to the CPU: 1" in words


def test_markdown_has_tables_of_their_own(report):
    text = render_markdown(report)
    found = tables(text)
    for table in found:
        assert {len(row) for row in table} == {len(table[0])}
    (estimated,) = (table for table in found if "estimated" in table[0][0])
    row = dict(zip(estimated[0], estimated[2], strict=True))
    assert row["cycles"] == "12,345"
    assert row["per second"] == "40,502"
    assert row["top-1"].startswith("78.50")
    measured = next(table for table in found if "median ms" in table[0])
    assert not any("ethos" in cell for line in measured for cell in line)
    assert "leaves odd (Erf) to the CPU: it is not between integers" in text


def test_bars_of_a_layer_are_parts_of_the_longest(figures):
    rows = npu.layer_rows(figures.npu())
    assert [(round(row.arithmetic, 2), round(row.waiting, 2)) for row in rows] == [
        (88.89, 11.11),
        (1.11, 0.0),
    ]


def test_a_memory_that_one_npu_lacks_is_a_gap(figures):
    flash = {"OffChipFlash": {"peak": 1, "read": 2, "written": 0, "cycles": 3}}
    variants = [figures.npu(), figures.npu("other", memories=flash)]
    assert npu.memories(variants) == ["Sram", "OffChipFlash"]
    assert npu.peak(variants[1], "Sram") == npu.traffic(variants[1], "Sram") == "–"  # noqa: RUF001


def test_a_bar_tells_the_part_that_is_arithmetic(figures):
    drawn = npu.cycle_shares([figures.npu(), figures.npu("idle", cycles=0, npu_cycles=0)])
    assert "Ingot int8 on ethos-u55-256  ·  81 % arithmetic" in drawn
    assert "idle  ·  0 % arithmetic" in drawn
