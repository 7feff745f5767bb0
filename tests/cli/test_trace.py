"""``ingot trace`` as it is called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ingot.report.rendering.formats import MISSING
from tests.command_line import Ingot
from tests.report.traces.sample import chrome, complete, session_trace


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("traces")
    return session_trace(120, cpu="Z80", estimates=True).save(folder / "session.json.gz")


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_the_summary(ingot: Ingot, path: Path) -> None:
    outcome = ingot("trace", path)
    assert outcome.code == 0, outcome.err
    shown = lines(outcome.out)
    assert shown[0] == "session two threads, begun 2026-11-30T12:00:00.000000+00:00"
    assert shown[1].startswith(
        f"{path}: 961 events, 120 marks, 120 values, 120 requests, 2 threads"
    )
    assert "stage source count average p50 p99 total self share" in shown
    load = next(line for line in shown if line.startswith("load "))
    assert load.startswith(f"load session 1 3.00 ms 3.00 ms {MISSING} 3.00 ms 3.00 ms")
    assert "region_0 120 12,000 500 µs" in shown
    kernel = next(line for line in shown if line.startswith("conv2d_relu conv2d+relu 120 "))
    assert kernel.endswith(MISSING)
    assert "another machine (Z80)" in outcome.out


def test_a_part_of_it(ingot: Ingot, path: Path) -> None:
    outcome = ingot("trace", path, "--request", "req-3", "--stage", "d*", "--stage", "run")
    assert ": 2 events, 1 request, 1 thread in" in outcome.out
    outcome = ingot("trace", path, "--end", "3.1ms", "--json")
    assert [row["name"] for row in json.loads(outcome.out)["summary"]["stages"]] == ["load"]


def test_the_slowest_first_and_the_others_in_one_row(ingot: Ingot, path: Path) -> None:
    shown = lines(ingot("trace", path, "--top", "2").out)
    table = shown.index("stage source count average p50 p99 total self share")
    assert shown[table + 1].startswith("conv2d_relu")
    assert shown[table + 3].startswith("6 more 720 ")


def test_as_json(ingot: Ingot, path: Path) -> None:
    document = json.loads(ingot("trace", path, "--top", "1", "--json").out)
    assert document["summary"]["session"] == "two threads"
    assert len(document["summary"]["stages"]) == 8
    assert {row["kernel"] for row in document["kernels"]} == {"conv2d_relu", "dense", "softmax"}
    assert document["kernels"][0]["gops"] > 0


def test_against_another(ingot: Ingot, path: Path, tmp_path: Path) -> None:
    slow = session_trace(120, kernel_us={"dense": 12}, seed=5).save(tmp_path / "slow.json")
    outcome = ingot("trace", slow, "--against", path, "--stage", "dense", "--stage", "softmax")
    shown = lines(outcome.out)
    assert shown[0].startswith("stage source count there p50 there difference interval")
    assert shown[1].startswith("dense kernel 120 120")
    assert shown[1].endswith("slower in this run")
    assert shown[2].endswith("noise")
    assert "within these two runs" in outcome.out
    document = json.loads(ingot("trace", slow, "--against", path, "--json").out)
    assert {row["verdict"] for row in document["compared"]} >= {
        "slower in this run",
        "noise",
        "too few events",
    }


def test_several_against_several(ingot: Ingot, tmp_path: Path) -> None:
    def recorded(name: str, seed: int, dense: float) -> list[Path]:
        return [
            session_trace(20, kernel_us={"dense": dense}, seed=seed + i).save(
                tmp_path / f"{name}{i}.json"
            )
            for i in range(4)
        ]

    slow, usual = recorded("slow", 1, 12.0), recorded("usual", 9, 9.0)
    others = [argument for path in usual for argument in ("--against", path)]
    page = tmp_path / "page.html"
    outcome = ingot("trace", *slow, *others, "--html", page)
    assert outcome.code == 0, outcome.err
    dense = next(line for line in lines(outcome.out) if line.startswith("dense kernel 80 80"))
    assert dense.endswith("slower")
    assert "they are of whole runs" in outcome.out
    assert "Against usual0.json and others" in page.read_text()
    outcome = ingot("trace", *slow)
    assert (outcome.code, "what to compare them with (--against)" in outcome.error) == (2, True)


def test_a_page(ingot: Ingot, path: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    outcome = ingot("trace", path, "--html", page, "--against", path, "--request", "req-1")
    assert outcome.code == 0, outcome.err
    assert lines(outcome.out)[-1] == f"page: {page}"
    text = page.read_text()
    assert "<title>two threads: Ingot trace</title>" in text
    assert f"Against {path.name}" in text
    assert "req-1" in text
    assert "req-2" not in text


def test_a_page_replaces_no_input(ingot: Ingot, path: Path) -> None:
    outcome = ingot("trace", path, "--html", path)
    assert outcome.code == 2
    assert "is read: give another name" in outcome.error


def test_another_program_s_trace(ingot: Ingot, tmp_path: Path) -> None:
    records = [complete("step [bold]", 0, 5), {"ph": "N", "name": "object"}]
    outcome = ingot("trace", chrome(tmp_path / "t.json", records))
    assert outcome.code == 0
    assert "t.json: 1 event, 1 thread in 5.00 µs" in " ".join(outcome.out.split())
    assert "step [bold]" in outcome.out
    assert "Entries of kinds that are not shown (N): 1." in outcome.out


def test_an_empty_trace(ingot: Ingot, tmp_path: Path) -> None:
    outcome = ingot("trace", chrome(tmp_path / "t.json", []))
    assert (outcome.code, "no event" in outcome.out) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.json"], 1, "there is no trace none.json"),
        (["{path}", "--against", "none.json"], 1, "there is no trace none.json"),
        (["{path}", "--stage", "nope"], 2, "the trace has no stage nope"),
        (["{path}", "--start", "soon"], 2, "--start: 'soon' is no time"),
        (["{path}", "--request", "r"], 2, "and 108 more"),
    ],
)
def test_errors(ingot: Ingot, path: Path, arguments, code: int, message: str) -> None:
    outcome = ingot("trace", *(str(argument).format(path=path) for argument in arguments))
    assert outcome.code == code
    assert message in outcome.error
    assert len(outcome.err.strip().splitlines()) == 1


def test_a_bad_file_is_one_line(ingot: Ingot, tmp_path: Path) -> None:
    outcome = ingot("trace", chrome(tmp_path / "bad.json", "[{"))
    assert outcome.code == 1
    assert "bad.json is no trace: it is not JSON" in outcome.error
