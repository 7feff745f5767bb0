"""A 1x1 convolution and the depthwise convolution that alone reads it, as one kernel.

Mobile networks widen an image several times over before a depthwise convolution and narrow it
after: the widened image is the largest of the block, and is written and read once. Here it never
exists as a whole. A task takes a panel of its channels: it computes them for some rows of the image
into scratch that stays in the second-level cache, and convolves them there. Channels are
independent of each other in a depthwise convolution, so that only the rows at a block's border are
computed twice.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from tvm import tirx

from ingot.targets.cpu.kernels.anchors import DepthwiseAnchor, MatmulAnchor
from ingot.targets.cpu.kernels.fusion.epilogue import FusedKernel
from ingot.targets.cpu.kernels.tiling.blocking import part
from ingot.targets.cpu.kernels.tiling.microkernel import Accumulators, each_panel
from ingot.targets.cpu.kernels.tiling.tiles import Panels, split_rows
from ingot.targets.cpu.kernels.window.sliding import SlidingWindow, window_shape
from ingot.targets.cpu.kernels.window.tiles import (
    WindowShape,
    WindowTile,
    choose_window_tile,
    runs_of,
)
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load, prim_func, vector_at
from ingot.targets.cpu.kernels.writing.tasks import share_tasks
from ingot.targets.cpu.machine import CpuDescription


@dataclasses.dataclass(frozen=True)
class ExpansionPlan:
    """Sizes of an expansion.

    Attributes:
        shape: What the window slides over.
        tile: The window's tile.
        panels: The channels' panels.
        depth: Channels before the expansion.
        row_blocks: Parts that the result's rows are cut into.
        cpu: The processor.
    """

    shape: WindowShape
    tile: WindowTile
    panels: Panels
    depth: int
    row_blocks: int
    cpu: CpuDescription

    @property
    def tile_rows(self) -> int:
        """Rows of tiles."""
        return sum(run.count for run in runs_of(self.shape.height, self.tile.rows))

    @property
    def scratch_rows(self) -> int:
        """Rows of the expanded image that a block needs at most."""
        height = self.shape.height
        outputs = min(-(-self.tile_rows // self.row_blocks) * self.tile.rows, height.result)
        reach = (height.kernel - 1) * height.dilation + 1
        return min((outputs - 1) * height.stride + reach, height.size)

    @property
    def scratch_bytes(self) -> int:
        """Bytes of the scratch."""
        return 4 * self.scratch_rows * self.shape.width.size * self.panels.width

    @property
    def cost(self) -> float:
        """Work done over work needed, on average of several numbers of threads."""
        computed = self.scratch_rows * self.row_blocks / self.shape.height.size
        tasks = self.row_blocks * self.panels.count
        idle = [-(-tasks // threads) * threads / tasks for threads in self.cpu.thread_counts]
        return max(1.0, computed) * sum(idle) / len(idle)


def plan_expansion(
    expansion: FusedKernel[MatmulAnchor], window: FusedKernel[DepthwiseAnchor], cpu: CpuDescription
) -> ExpansionPlan | None:
    """Plans the kernel of a 1x1 and of a depthwise convolution, or None where it does not fit.

    It fits where images are static, the 1x1 convolution skips no pixels, panels are made of whole
    groups of the window's channels, and the expanded image is too large for the second-level cache:
    a smaller one is not far away, and the 1x1 convolution's tiles fit its rows less well than they
    fit all of its pixels (14x14 and 7x7 images were measured a tenth to a third slower).
    """
    source, result = expansion.parameters[0], window.epilogue.result
    dimensions = [*source.shape, *result.shape]
    if not all(isinstance(size, tirx.IntImm) for size in dimensions):
        return None
    if expansion.anchor.strides != (1, 1) or expansion.anchor.taps > 1:
        return None
    shape = window_shape(window, cpu, weighted=True)
    if 4 * shape.height.size * shape.width.size * shape.channels <= cpu.core.l2_bytes:
        return None
    tile = choose_window_tile(shape, cpu)
    panels = Panels(shape.channels, cpu.float_lanes, expansion.anchor.vectors)
    group = tile.vectors * shape.lanes
    if panels.width % group or shape.channels % group:
        return None
    plans = [
        ExpansionPlan(shape, tile, panels, expansion.anchor.depth, blocks, cpu)
        for blocks in range(1, sum(run.count for run in runs_of(shape.height, tile.rows)) + 1)
    ]
    fitting = [plan for plan in plans if plan.scratch_bytes <= cpu.core.resident_bytes]
    return min(fitting, key=lambda plan: (plan.cost, plan.row_blocks), default=None)


def write_expansion(
    expansion: FusedKernel[MatmulAnchor],
    window: FusedKernel[DepthwiseAnchor],
    plan: ExpansionPlan,
) -> tirx.PrimFunc:
    """Writes the code of a 1x1 convolution and of the depthwise one that reads it.

    Returns:
        The kernel; its parameters are those of the first without the result, then those of the
        second without the image.
    """
    emitter = Emitter()
    images = int(window.epilogue.result.shape[0])
    panels, shape = plan.panels, plan.shape
    pixels = shape.height.size * shape.width.size
    operations = images * (2 * pixels * plan.depth * shape.channels + shape.operations)

    def emit_task(task: tirx.Expr) -> None:
        panel = emitter.bind("panel", task % index(panels.count))
        block = emitter.bind("block", task // index(panels.count))
        image = emitter.bind("image", block // index(plan.row_blocks))
        bounds = part(block % index(plan.row_blocks), plan.tile_rows, plan.row_blocks)
        low, high = (emitter.bind("tile_row", bound) for bound in bounds)
        first, last = _source_rows(emitter, plan, low, high)
        width = shape.width.size
        scratch = emitter.allocate("expanded", [plan.scratch_rows, width, panels.width])
        _expand(emitter, expansion, plan, scratch, image, panel, first, last)
        group = plan.tile.vectors * shape.lanes
        groups = panels.width // group
        first_group = panel * index(groups)
        last_group = tirx.Min(first_group + index(groups), index(shape.channels // group))

        def read(_: tirx.Expr, y: tirx.Expr, x: tirx.Expr, channels: tirx.Expr) -> tirx.Expr:
            inside = channels.base - panel * index(panels.width)
            return load(scratch, y - first, x, vector_at(inside, shape.lanes))

        SlidingWindow(emitter, window, shape, plan.tile, 0.0, _multiply_add, read).emit_rows(
            image, (low, high), (first_group, last_group)
        )

    share_tasks(emitter, images * plan.row_blocks * panels.count, operations, emit_task, plan.cpu)
    parameters = [*expansion.parameters[:-1], *window.parameters[1:]]
    # All of each parameter is read or written.
    moved = sum(
        math.prod(int(size) for size in parameter.shape) * np.dtype(str(parameter.dtype)).itemsize
        for parameter in parameters
    )
    return prim_func(
        parameters, emitter.body(), family="expansion", operations=operations, moved=moved
    )


def _multiply_add(total: tirx.Expr, value: tirx.Expr, weight: tirx.Expr | None) -> tirx.Expr:
    assert weight is not None
    return total + value * weight


def _source_rows(
    emitter: Emitter, plan: ExpansionPlan, low: tirx.Expr, high: tirx.Expr
) -> tuple[tirx.Expr, tirx.Expr]:
    """The rows of the expanded image that rows of tiles need: the first, and one past the last."""
    height = plan.shape.height
    runs = runs_of(height, plan.tile.rows)

    def first_output(tile_row: tirx.Expr) -> tirx.Expr:
        output = tile_row * index(runs[0].rows)
        if len(runs) == 1:
            return output
        taller = index(runs[0].count)
        later = index(runs[1].start) + (tile_row - taller) * index(runs[1].rows)
        return tirx.Select(tile_row <= taller, output, later)

    reach = (height.kernel - 1) * height.dilation + 1
    first = first_output(low) * index(height.stride) - index(height.padding)
    last = (first_output(high) - index(1)) * index(height.stride) + index(reach - height.padding)
    return (
        emitter.bind("first_source", tirx.Max(first, index(0))),
        emitter.bind("last_source", tirx.Min(last, index(height.size))),
    )


def _expand(
    emitter: Emitter,
    expansion: FusedKernel[MatmulAnchor],
    plan: ExpansionPlan,
    scratch: tirx.Buffer,
    image: tirx.Expr,
    panel: tirx.Expr,
    first: tirx.Expr,
    last: tirx.Expr,
) -> None:
    """Writes the 1x1 convolution of some rows of the image, for one panel, into scratch."""
    source, weights = expansion.parameters[0], expansion.parameters[1]
    lanes, first_column = plan.panels.lanes, panel * index(plan.panels.width)
    epilogue = dataclasses.replace(
        expansion.epilogue,
        result=scratch,
        place=lambda at: [at[1] - first, at[2], at[3] - first_column],
    )

    def emit_tile(y: tirx.Expr, start: tirx.Expr, rows: int, columns: int) -> None:
        vectors = -(-columns // lanes)
        accumulators = Accumulators(emitter, rows, vectors, lanes)
        with emitter.loop(plan.depth, "k") as k:
            accumulators.step(
                k,
                lambda row, at: load(source, image, y, start + index(row), at),
                lambda vector, at: load(weights, panel, 0, 0, at, vector_at(vector * lanes, lanes)),
            )
        accumulators.store(
            epilogue, lambda row: [image, y, start + index(row)], first_column, columns
        )

    def rows_of(_: tirx.Expr, columns: int) -> None:
        with emitter.loop(last - first, "y", start=first) as y:
            for run in split_rows(plan.shape.width.size, -(-columns // lanes), plan.cpu):
                with emitter.function("expand"), emitter.loop(run.count, "tile") as tile:
                    start = index(run.start) + tile * index(run.rows)
                    emit_tile(y, start, run.rows, columns)

    each_panel(emitter, plan.panels, (panel, panel + index(1)), rows_of)
