"""A layer's tasks cover it, keep the threads equally busy, and read little more than once."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tvm import tirx
from tvm.sym import Analyzer

from ingot.targets.cpu.kernels.tiling.blocking import (
    Blocking,
    choose_blocking,
    part,
)
from ingot.targets.cpu.kernels.tiling.tiles import choose_panels, split_rows
from ingot.targets.cpu.kernels.writing.emission import index
from ingot.targets.cpu.machine import CpuDescription
from tests.targets.cpu.processors import AVX2, AVX512, NEON, PROCESSORS, SSE

processors = st.sampled_from(list(PROCESSORS.values()))


def bounds(number: int, units: int, parts: int) -> tuple[int, int]:
    """Evaluates ``part`` for a number that the code knows only when it runs."""
    variable = tirx.Var("number", "int64")
    analyzer = Analyzer()
    analyzer.bind(variable, index(number))
    low, high = (analyzer.simplify(bound) for bound in part(variable, units, parts))
    return int(low), int(high)


@given(st.integers(1, 300), st.data())
def test_parts_are_contiguous_and_cover(units: int, data: st.DataObject) -> None:
    parts = data.draw(st.integers(1, units))
    found = [bounds(number, units, parts) for number in range(parts)]
    assert found[0][0] == 0
    assert found[-1][1] == units
    assert all(left[1] == right[0] for left, right in itertools.pairwise(found))
    sizes = {high - low for low, high in found}
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1


@dataclasses.dataclass(frozen=True)
class Layer:
    """A convolution of a square image, or with a kernel of 0 a matmul of so many rows."""

    size: int
    channels: int
    kernel: int
    filters: int

    def blocking(self, cpu: CpuDescription) -> tuple[Blocking, int, int]:
        """The blocking, and the units of rows and panels that it cuts."""
        depth = self.channels * max(self.kernel, 1) ** 2
        pixels = self.size if self.kernel == 0 else self.size**2
        rows = self.size if self.kernel > 1 else pixels
        panels = choose_panels(self.filters, rows, cpu)
        units, row_bytes = rows, 4.0 * self.size * self.channels
        if self.kernel <= 1:
            units = sum(run.count for run in split_rows(rows, panels.vectors, cpu))
            row_bytes = 4.0 * depth * rows / units
        blocking = choose_blocking(
            row_units=units,
            row_bytes=row_bytes,
            panels=panels.count,
            panel_bytes=4.0 * depth * panels.width,
            operations=2.0 * pixels * depth * self.filters,
            cpu=cpu,
        )
        return blocking, units, panels.count


# Size, input channels, kernel, output channels of the layers at the size of their results.
RESNET50 = [
    (112, 3, 7, 64), (56, 64, 1, 64), (56, 64, 3, 64), (56, 64, 1, 256), (56, 256, 1, 64),
    (56, 256, 1, 128), (28, 128, 3, 128), (28, 128, 1, 512), (28, 512, 1, 128), (28, 256, 1, 512),
    (28, 512, 1, 256), (14, 256, 3, 256), (14, 256, 1, 1024), (14, 1024, 1, 256),
    (14, 512, 1, 1024), (14, 1024, 1, 512), (7, 512, 3, 512), (7, 512, 1, 2048), (7, 2048, 1, 512),
    (7, 1024, 1, 2048), (1, 2048, 1, 1000),
]  # fmt: skip
MOBILENETV2 = [
    (112, 3, 3, 32), (112, 32, 1, 16), (112, 16, 1, 96), (56, 96, 1, 24), (56, 24, 1, 144),
    (56, 144, 1, 24), (28, 144, 1, 32), (28, 32, 1, 192), (28, 192, 1, 32), (14, 192, 1, 64),
    (14, 64, 1, 384), (14, 384, 1, 64), (14, 384, 1, 96), (14, 96, 1, 576), (14, 576, 1, 96),
    (7, 576, 1, 160), (7, 160, 1, 960), (7, 960, 1, 160), (7, 960, 1, 320), (7, 320, 1, 1280),
    (1, 1280, 1, 1000),
]  # fmt: skip
BERT = [(128, 768, 0, 768), (128, 768, 0, 2304), (128, 768, 0, 3072), (128, 3072, 0, 768)]
LAYERS = [Layer(*layer) for layer in (*RESNET50, *MOBILENETV2, *BERT)]


def task_sizes(blocking: Blocking, units: int, panels: int) -> list[int]:
    """Units of rows times panels of each task, in the order in which the code numbers them."""

    def sizes(total: int, parts: int) -> list[int]:
        return [(i + 1) * total // parts - i * total // parts for i in range(parts)]

    return [
        rows * width
        for width in sizes(panels, blocking.panel_groups)
        for rows in sizes(units, blocking.row_blocks)
    ]


def imbalance(sizes: list[int], threads: int) -> float:
    """Time over that of an even share; the pool deals tasks in contiguous, equal numbers."""
    each = -(-len(sizes) // threads)
    longest = max(sum(sizes[first : first + each]) for first in range(0, len(sizes), each))
    return longest * threads / sum(sizes)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.parametrize(
    ("cpu", "most"),
    [
        pytest.param(SSE, {1: 1.0, 2: 1.03, 4: 1.1, 8: 1.15}, id="sse"),
        pytest.param(AVX2, {1: 1.0, 2: 1.08, 4: 1.1, 8: 1.15}, id="avx2"),
        pytest.param(NEON, {1: 1.0, 2: 1.02, 4: 1.1, 8: 1.15}, id="neon"),
        # With tiles of 14 x 32 the 7 x 7 layers that end in 160 channels are four by five tiles.
        pytest.param(AVX512, {1: 1.0, 2: 1.2, 4: 1.6, 8: 1.6}, id="avx512"),
    ],
)
def test_threads_are_equally_busy(
    layer: Layer, cpu: CpuDescription, most: dict[int, float]
) -> None:
    sizes = task_sizes(*layer.blocking(cpu))
    for threads, bound in most.items():
        assert imbalance(sizes, threads) <= bound, threads


@given(
    st.integers(1, 3000), st.integers(1, 300), st.integers(1, 4096), st.integers(1, 64), processors
)
def test_tasks_are_no_smaller_than_units(
    row_units: int, panels: int, depth: int, rows: int, cpu: CpuDescription
) -> None:
    blocking = choose_blocking(
        row_units=row_units,
        row_bytes=4.0 * depth * rows,
        panels=panels,
        panel_bytes=4.0 * depth * 16,
        operations=2.0 * depth * rows * row_units * panels * 16,
        cpu=cpu,
    )
    assert 1 <= blocking.row_blocks <= row_units
    assert 1 <= blocking.panel_groups <= panels
    assert blocking.tasks == blocking.row_blocks * blocking.panel_groups
    assert min(task_sizes(blocking, row_units, panels)) >= 1


@pytest.mark.parametrize("cpu", [SSE, AVX2, AVX512, NEON], ids=list(PROCESSORS))
def test_what_is_not_worth_a_launch_is_one_task(cpu: CpuDescription) -> None:
    # Cutting such a layer would only make its rows or its weights be read again.
    depth, units, panels = 16, 4, 4
    operations = 2.0 * depth * units * 6 * panels * 16
    assert operations < cpu.launch_operations
    blocking = choose_blocking(
        row_units=units,
        row_bytes=4.0 * depth * 6,
        panels=panels,
        panel_bytes=4.0 * depth * 16,
        operations=operations,
        cpu=cpu,
    )
    assert blocking == Blocking(1, 1)


def test_a_block_of_rows_that_is_read_for_each_panel_stays_in_the_second_level_cache() -> None:
    layer = Layer(56, 256, 1, 128)
    blocking, units, panels = layer.blocking(AVX2)
    assert panels // blocking.panel_groups > 1
    bytes_of_a_block = 4 * layer.channels * layer.size**2 / blocking.row_blocks
    assert bytes_of_a_block <= AVX2.core.l2_bytes / 2
    assert units > blocking.row_blocks
