"""The report for a pull request."""
# ruff: noqa: RUF001 - ratios have a true multiplication sign, gaps a dash

import pytest

from ingot.report.rendering.markdown import render_markdown
from ingot.report.schema import Quantization
from tests.report.rendering.optimized import optimized_report


def tables(text):
    """Rows of cells of each table; an escaped bar is no border."""
    found, rows = [], []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            bare = line.replace("\\|", "")
            rows.append([cell.strip() for cell in bare.strip("|").split("|")])
        elif rows:
            found.append(rows)
            rows = []
    return found


def test_the_finding_comes_first(figures):
    report = figures.report()
    lines = [line for line in render_markdown(report).splitlines() if line]
    assert lines[0] == "### Ingot report: net"
    assert lines[1] == f"**{report.headline}**"


def test_every_table_has_as_many_cells_in_each_row(figures):
    found = tables(render_markdown(figures.report()))
    assert len(found) == 3
    for table in found:
        assert {len(row) for row in table} == {len(table[0])}


def test_the_figures_are_those_of_the_report(figures):
    main = tables(render_markdown(figures.report()))[0]
    row = dict(zip(main[0], main[3], strict=True))
    assert row["variant"] == "Ingot fp32"
    assert row["median ms"] == "2.00"
    assert row["speed"] == "**2.00×** (1.90× to 2.10×)"
    assert row["difference"] == "0.00 (0.00 to 0.00)"
    assert row["peak memory"].replace("\u202f", " ") == "90.0 MB"
    assert row["CPU"].replace("\u202f", " ") == "187 %"
    assert row["GPU"] == "–"
    assert row["power"].replace("\u202f", " ") == "42.5 W 85.0 mJ each"


def test_what_the_machine_does_not_tell_is_said_with_the_reason(figures):
    assert "- GPU is not available: no driver." in render_markdown(figures.report()).splitlines()


def test_details_are_folded(figures):
    text = render_markdown(figures.report())
    assert text.count("<details>") == text.count("</details>") == 3
    assert "<summary>Passes of Ingot fp32</summary>" in text


def test_without_labels_the_outputs_are_compared(figures):
    full = figures.report()
    bare = tuple(variant.model_copy(update={"metrics": ()}) for variant in full.variants)
    text = render_markdown(full.model_copy(update={"variants": bare, "data": None}))
    assert tables(text)[0][0][6] == "outputs"
    assert "±2.0e-06" in text


@pytest.mark.parametrize(("failed", "shown"), [(True, "❌ failed"), (False, "✅ passed")])
def test_checks_are_shown(figures, failed, shown):
    check = {
        "rule": "latency>1.1x",
        "variant": "Ingot fp32",
        "value": 1.3,
        "low": None,
        "high": None,
        "failed": failed,
        "explanation": "as it is",
    }
    assert f"| {shown} | `latency>1.1x` | as it is |" in render_markdown(
        figures.report(checks=(check,))
    )


def test_a_name_is_no_markup(figures):
    full = figures.report()
    model = full.model.model_copy(update={"name": "a_b*c|<d>"})
    text = render_markdown(full.model_copy(update={"model": model}))
    assert text.startswith("### Ingot report: a\\_b\\*c\\|\\<d\\>\n")


def quantized_report(figures):
    """The report with a quantized variant that held a budget."""
    report = figures.report()
    layers = [
        {"name": name, "operator": "Conv", "layer_sqnr_db": 30.0, "output_sqnr_db": sqnr,
         "multiply_adds": 1000, "precision": precision}
        for name, sqnr, precision in (("stem", 21.5, "fp32"), ("head|1", 40.0, "int8"))
    ]  # fmt: skip
    facts = Quantization.model_validate(
        {
            "layers": layers,
            "output_sqnr_db": {"y": 24.0},
            "samples": 8,
            "budget": {
                "budget": 0.3, "metric": "top-1", "unit": "%", "examples": 650,
                "reference": 80.0, "quantized": 79.0, "result": 79.8,
                "kept_in_float": ["stem"], "tried": {"0": 79.0, "1": 79.8},
            },
        }
    )  # fmt: skip
    variants = [
        variant
        if variant.build is None
        else variant.model_copy(
            update={"build": variant.build.model_copy(update={"quantization": facts})}
        )
        for variant in report.variants
    ]
    return report.model_copy(update={"variants": tuple(variants)})


def test_the_noise_of_layers_and_the_budget_are_shown(figures):
    text = render_markdown(quantized_report(figures))
    assert "Accuracy budget of 0.3: 1 layer in float" in text
    assert "float 80.00%, all in integers 79.00%, compiled 79.80%" in text
    assert "head\\|1" in text
    (table,) = [rows for rows in tables(text) if rows[0][0] == "layer"]
    assert table[2][:4] == ["stem", "fp32", "30.0", "21.5"]


def test_what_an_optimization_tried_is_shown_with_the_reasons(figures):
    text = render_markdown(optimized_report(figures))
    assert "<summary>What was tried for Ingot fp32</summary>" in text
    (table,) = [found for found in tables(text) if found[0][0] == "step"]
    rows = {row[0]: row[1:] for row in table[2:]}
    assert rows["int8"] == ["kept", "3.00x", "300\u202fkB", "+0.20", "3.00x as fast as fp32"]
    assert rows["bf16"] == ["rejected", "–", "–", "–", "it failed: no code"]
    assert "The data cannot resolve the budget." in text
