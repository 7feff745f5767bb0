"""Sizes that are tried for open dimensions."""

from __future__ import annotations

import itertools

from ingot.compiler.sizes import BATCH, PIXELS, SEQUENCE, OpenSizes, show_sizes, size_of
from tests.graphs import parse


def open_sizes(inputs: str) -> OpenSizes:
    text = f'<ir_version: 10, opset_import: ["":21]> g ({inputs}) => (float[1] y) '
    return OpenSizes.of(parse(text + "{ y = Constant<value = float[1] {0}>() }"))


def test_the_first_sizes_go_by_where_a_symbol_stands() -> None:
    found = open_sizes("float[N, 3, H, W] image, int64[N, S] ids")
    assert found.first == {"N": BATCH, "H": PIXELS, "W": PIXELS, "S": SEQUENCE}
    assert found.batches == ["N"]


def test_attempts_begin_with_the_first_sizes_and_a_batch_of_one() -> None:
    attempts = open_sizes("int64[N, S] ids").attempts()
    assert list(itertools.islice(attempts, 4)) == [
        {"N": 2, "S": 16},
        {"N": 1, "S": 16},
        {"N": 2, "S": 64},
        {"N": 1, "S": 64},
    ]


def test_one_length_may_be_the_sum_of_two_others() -> None:
    attempts = list(open_sizes("int64[N, S] ids, int64[N, T] mask, float[N, P, 4] past").attempts())
    assert {"N": 2, "S": 16, "T": 32, "P": 16} in attempts
    further = open_sizes("int64[N, S] ids, int64[N, T] mask, float[N, P, 4] past").further(
        {"N": 2, "S": 16, "T": 32, "P": 16}
    )
    for candidates in further:
        assert all(sizes["T"] == sizes["S"] + sizes["P"] for sizes in candidates)


def test_a_second_dimension_may_be_the_batch() -> None:
    found = open_sizes("float[N, samples] x, float[2, B, 128] state, float[4, 5, 6] rest")
    attempts = list(itertools.islice(found.attempts(), 64))
    assert {"N": 2, "samples": 16, "B": 2} in attempts
    assert {"N": 2, "samples": 256, "B": 2} in attempts
    for candidates in found.further({"N": 2, "samples": 256, "B": 2}):
        assert all(sizes["B"] == sizes["N"] for sizes in candidates)
    for sizes in found.alone("N", {"N": 2, "samples": 256, "B": 2}):
        assert sizes["B"] == sizes["N"]


def test_further_sizes_differ_from_symbol_to_symbol_or_are_alike() -> None:
    ones, odd, larger, _ = open_sizes("int64[N, S] ids, int64[N, T] more").further(
        {"N": 2, "S": 16, "T": 16}
    )
    assert ones == [{"N": 1, "S": 1, "T": 1}]
    assert [len(set(sizes.values())) for sizes in odd] == [3, 2]
    assert all(size % 2 for sizes in odd for size in sizes.values())
    assert all(size > 16 for sizes in larger for name, size in sizes.items() if name != "N")


def test_what_had_to_grow_grows_on() -> None:
    for candidates in open_sizes("float[N, samples] x").further({"N": 2, "samples": 1024}):
        assert all(sizes["samples"] > 1024 for sizes in candidates)


def test_growing_ends_before_an_input_fills_the_memory() -> None:
    attempts = list(open_sizes("float[N, 3, H, W] image").attempts())
    largest = max(size["H"] * size["W"] * size["N"] * 3 for size in attempts)
    assert 1 << 20 < largest <= 1 << 24


def test_sizes_of_expressions_and_for_messages() -> None:
    assert size_of("past + 2 * S", {"past": 3, "S": 4}) == 11
    assert show_sizes({"N": 1, "S": 2}) == "N = 1, S = 2"
