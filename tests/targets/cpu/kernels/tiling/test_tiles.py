"""Register tiles fit the registers, cover the result, and keep the multiply-add units busy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingot.targets.cpu.kernels.tiling.tiles import (
    MULTIPLY_ADD,
    PairedProducts,
    Panels,
    Run,
    Step,
    choose_panels,
    most_rows,
    split_evenly,
    split_rows,
)
from ingot.targets.cpu.machine import CpuDescription
from tests.targets.cpu.processors import AVX2, AVX512, NEON, PROCESSORS, SSE

processors = st.sampled_from(list(PROCESSORS.values()))
extents = st.integers(1, 4000)
vector_counts = st.integers(1, 8)
PAIRED = PairedProducts()
steps = st.sampled_from([MULTIPLY_ADD, PAIRED])


def rows_of(runs: tuple[Run, ...]) -> list[int]:
    """The rows that the tiles cover, one after the other."""
    return [
        run.start + tile * run.rows + row
        for run in runs
        for tile in range(run.count)
        for row in range(run.rows)
    ]


def registers_of(rows: int, vectors: int, step: Step) -> int:
    """What a tile holds at once."""
    if step is MULTIPLY_ADD:
        # Accumulators, a broadcast, and the panel's vectors, which a single row reads from memory.
        return rows * vectors + 1 + (vectors if rows > 1 else 0)
    # Two groups' broadcasts, and weights where they do not come from memory; ones; two sums.
    return rows * vectors + 2 + (2 if vectors == 1 else 0) + 1 + 2


@given(extents, vector_counts, processors, steps)
def test_tiles_cover_the_rows_exactly_and_in_order(
    extent: int, vectors: int, cpu: CpuDescription, step: Step
) -> None:
    assert rows_of(split_rows(extent, vectors, cpu, step)) == list(range(extent))


@given(extents, processors, st.data())
def test_every_tile_fits_the_registers(
    extent: int, cpu: CpuDescription, data: st.DataObject
) -> None:
    step = data.draw(steps)
    vectors = data.draw(st.integers(1, step.widest_panel))
    for run in split_rows(extent, vectors, cpu, step):
        assert registers_of(run.rows, vectors, step) <= cpu.vector_registers


@given(extents, vector_counts, processors)
def test_heights_differ_by_at_most_one(extent: int, vectors: int, cpu: CpuDescription) -> None:
    heights = {run.rows for run in split_rows(extent, vectors, cpu)}
    assert max(heights) - min(heights) <= 1


@given(extents, st.data())
def test_an_even_split_has_the_tiles_asked_for(extent: int, data: st.DataObject) -> None:
    tiles = data.draw(st.integers(1, extent))
    runs = split_evenly(extent, tiles)
    assert sum(run.count for run in runs) == tiles
    assert rows_of(runs) == list(range(extent))


def test_a_remainder_is_shared_among_the_tiles() -> None:
    assert split_rows(49, 2, AVX2) == (Run(0, 4, 6), Run(24, 5, 5))
    assert split_rows(49, 2, AVX512) == (Run(0, 1, 13), Run(13, 3, 12))


def test_one_height_is_worth_a_little_time() -> None:
    assert split_rows(32, 2, AVX2) == (Run(0, 2, 6), Run(12, 4, 5))
    assert split_rows(32, 2, AVX2, PAIRED) == (Run(0, 8, 4),)
    # Seven tiles of seven, against ten of which nine are of five: too much of it.
    assert split_rows(49, 2, AVX2, PAIRED) == (Run(0, 9, 5), Run(45, 1, 4))


@pytest.mark.parametrize(
    ("step", "rows", "vectors", "cycles"),
    [
        pytest.param(MULTIPLY_ADD, 6, 2, 6.0, id="two multiply-adds a cycle"),
        pytest.param(MULTIPLY_ADD, 2, 2, 4.0, id="too few accumulators to hide the latency"),
        pytest.param(MULTIPLY_ADD, 1, 8, 4.5, id="two loads a cycle"),
        # Of two rows: 4 broadcasts, 8 accumulators of 5 instructions, and 3 of the loop.
        pytest.param(PAIRED, 2, 4, 47 / 3, id="three instructions a cycle"),
        # Of nine rows: 18 broadcasts, 2 loads, 9 accumulators of 5 instructions, 3 of the loop.
        pytest.param(PAIRED, 9, 1, 68 / 3, id="a single vector's weights are loaded"),
    ],
)
def test_what_limits_a_tile(step: Step, rows: int, vectors: int, cycles: float) -> None:
    assert step.cycles(rows, vectors, AVX2.core) == pytest.approx(cycles)


@pytest.mark.parametrize("vectors", range(1, 5))
def test_rows_read_weights_again_where_there_are_products_to_hide_it(vectors: int) -> None:
    assert PAIRED.reads_weights_again(vectors) == (vectors > 1)
    assert not MULTIPLY_ADD.reads_weights_again(vectors)


@pytest.mark.parametrize(
    ("cpu", "tallest"),
    [
        pytest.param(SSE, [14, 6, 4, 2, 2, 1, 1, 1], id="sse: 16 registers"),
        pytest.param(AVX2, [14, 6, 4, 2, 2, 1, 1, 1], id="avx2: 16 registers"),
        pytest.param(AVX512, [30, 14, 9, 6, 5, 4, 3, 2], id="avx512: 32 registers"),
        pytest.param(NEON, [30, 14, 9, 6, 5, 4, 3, 2], id="neon: 32 registers"),
    ],
)
def test_tallest_tile_by_vectors(cpu: CpuDescription, tallest: list[int]) -> None:
    assert [most_rows(vectors, cpu) for vectors in range(1, 9)] == tallest


@pytest.mark.parametrize(
    ("cpu", "tallest"),
    [
        pytest.param(AVX2, [9, 5, 3, 2], id="avx2: 16 registers"),
        pytest.param(AVX512, [25, 13, 9, 6], id="avx512: 32 registers"),
    ],
)
def test_tallest_tile_of_paired_products(cpu: CpuDescription, tallest: list[int]) -> None:
    assert [most_rows(vectors, cpu, PAIRED) for vectors in range(1, 5)] == tallest


@given(st.integers(1, 3000), st.none() | extents, processors, steps)
def test_panels_cover_the_columns(
    columns: int, extent: int | None, cpu: CpuDescription, step: Step
) -> None:
    panels = choose_panels(columns, extent, cpu, step)
    assert panels.vectors <= step.widest_panel
    assert panels.lanes == cpu.float_lanes
    assert panels.full * panels.width + panels.last_columns == columns
    assert panels.count == panels.full + (panels.last_columns > 0)
    # No vector of a panel lies wholly beyond the columns of a narrow result.
    assert panels.vectors <= -(-columns // panels.lanes)


@pytest.mark.parametrize(
    ("columns", "rows", "cpu", "expected"),
    [
        # ResNet-50's layers: rows of an image for k x k kernels, the whole image for 1 x 1.
        (64, 56, AVX2, 2),
        (64, 56, AVX512, 2),
        (64, 56, NEON, 2),
        (256, 3136, AVX2, 2),
        (256, 3136, AVX512, 2),
        (256, 3136, NEON, 2),
        # Seven rows of two vectors would be tiles of four and three, too short for the latency.
        (512, 7, AVX2, 3),
        (512, 7, AVX512, 2),
        (512, 7, NEON, 2),
        # MobileNetV2's 24 channels are three vectors of eight lanes and one and a half of sixteen.
        (24, 3136, AVX2, 3),
        (24, 3136, AVX512, 2),
        (24, 3136, NEON, 2),
        # One row has accumulators enough only in a wide panel.
        (1000, 1, AVX2, 8),
        (1000, 1, AVX512, 8),
        (1000, 1, NEON, 8),
        # Rows whose number is known only at run time.
        (768, None, AVX2, 2),
        (768, None, AVX512, 2),
        (768, None, NEON, 2),
        # Fewer columns than one vector has lanes.
        (1, 100, AVX2, 1),
        (3, 100, AVX512, 1),
    ],
)
def test_vectors_of_a_panel(
    columns: int, rows: int | None, cpu: CpuDescription, expected: int
) -> None:
    assert choose_panels(columns, rows, cpu).vectors == expected


@pytest.mark.parametrize(
    ("columns", "rows", "expected"),
    [
        pytest.param(64, 56, 4, id="resnet50, rows of 56"),
        pytest.param(512, 7, 4, id="resnet50, rows of 7"),
        pytest.param(24, 3136, 3, id="mobilenetv2: three vectors of eight lanes"),
        pytest.param(16, 12544, 2, id="two vectors"),
        pytest.param(8, 100, 1, id="one vector"),
        pytest.param(768, None, 4, id="rows known at run time"),
    ],
)
def test_vectors_of_a_panel_of_paired_products(
    columns: int, rows: int | None, expected: int
) -> None:
    assert choose_panels(columns, rows, AVX2, PAIRED).vectors == expected


@given(st.integers(12, 400), st.integers(28, 4000), processors)
def test_wide_and_tall_results_keep_the_units_at_nine_tenths(
    vectors: int, rows: int, cpu: CpuDescription
) -> None:
    columns = vectors * cpu.float_lanes
    panels = choose_panels(columns, rows, cpu)
    widths = [panels.vectors] * panels.full + [-(-panels.last_columns // panels.lanes)]
    cycles = sum(
        run.count * MULTIPLY_ADD.cycles(run.rows, width, cpu.core)
        for width in widths
        if width
        for run in split_rows(rows, width, cpu)
    )
    assert cycles <= rows * vectors / cpu.core.multiply_adds_per_cycle / 0.9


def test_a_narrower_last_panel() -> None:
    panels = Panels(columns=1000, lanes=8, vectors=8)
    assert (panels.width, panels.full, panels.last_columns, panels.count) == (64, 15, 40, 16)
