"""In which order threads are bound to processors."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st

from ingot.runtime.topology import Processor, ordered, parse_list, processors, resolve_cores

# Two nodes of two cores with two processors each, as servers number them.
TWO_NODES = [Processor(number, number % 4, number % 2) for number in range(8)]


@pytest.mark.parametrize(
    ("placement", "order"),
    [("compact", [0, 2, 4, 6, 1, 3, 5, 7]), ("spread", [0, 1, 2, 3, 4, 5, 6, 7])],
)
def test_cores_come_before_their_second_processors(placement: str, order: list[int]) -> None:
    assert ordered(placement, TWO_NODES) == order  # type: ignore[arg-type]


@hypothesis.given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=12),
    st.sampled_from(["compact", "spread"]),
)
def test_each_processor_is_used_once(places: list[tuple[int, int]], placement: str) -> None:
    found = [Processor(n, core + 4 * node, node) for n, (core, node) in enumerate(places)]
    assert sorted(ordered(placement, found)) == list(range(len(places)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "numbers"), [("", []), ("0\n", [0]), ("0-2,5", [0, 1, 2, 5]), ("7,9-9", [7, 9])]
)
def test_lists_of_the_kernel(text: str, numbers: list[int]) -> None:
    assert parse_list(text) == numbers


def test_nodes_and_siblings_are_read(tmp_path: Path) -> None:
    number = min(os.sched_getaffinity(0))
    node = tmp_path / "sys/devices/system/node/node3"
    node.mkdir(parents=True)
    (node / "cpulist").write_text("0-9999")
    folder = tmp_path / f"sys/devices/system/cpu/cpu{number}/topology"
    folder.mkdir(parents=True)
    (folder / "thread_siblings_list").write_text(f"{number},9998\n")
    assert processors(tmp_path)[0] == Processor(number, number, 3)


def test_where_the_system_tells_nothing_each_processor_is_a_core(tmp_path: Path) -> None:
    found = processors(tmp_path)
    assert [processor.number for processor in found] == sorted(os.sched_getaffinity(0))
    assert all(processor.core == processor.number and not processor.node for processor in found)


def test_numbers_are_taken_as_they_are() -> None:
    usable = sorted(os.sched_getaffinity(0), reverse=True)
    assert resolve_cores(usable) == tuple(usable)
    assert resolve_cores(None) == ()
    assert sorted(resolve_cores("spread")) == sorted(usable)
