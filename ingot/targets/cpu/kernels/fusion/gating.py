"""Rows scaled ahead of a matmul: channels times their gates, in squeeze-and-excitation.

The product of an image with its channels' gates is read by nothing but a 1x1 convolution. It is not
written as a whole: a task scales the rows of a tile into scratch that stays in the first-level
cache, and multiplies all the panels of weights by them there. Each scaled element is rounded as if
it had been stored, so that the results are the same to the bit.
"""

from __future__ import annotations

import dataclasses

from tvm import tirx

from ingot.targets.cpu.kernels.window.tiles import vector_lanes
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load, vector_at
from ingot.targets.cpu.machine import CpuDescription


@dataclasses.dataclass(frozen=True)
class Gate:
    """What scales the rows of a matrix.

    Attributes:
        rows: The matrix, [rows, K].
        factors: The factors, [images, K].
        rows_of_an_image: Neighbouring rows that have the same factors.
    """

    rows: tirx.Buffer
    factors: tirx.Buffer
    rows_of_an_image: int

    def scale(
        self,
        emitter: Emitter,
        scratch: tirx.Buffer,
        first: tirx.Expr,
        count: int,
        cpu: CpuDescription,
    ) -> None:
        """Writes some rows, scaled, into scratch.

        Args:
            emitter: Where the statements go.
            scratch: A buffer [at least count, K].
            first: The first row.
            count: Number of rows.
            cpu: The processor.
        """
        depth = int(self.rows.shape[1])
        lanes = vector_lanes(depth, cpu)
        images = [
            emitter.bind("image", (first + index(row)) // index(self.rows_of_an_image))
            for row in range(count)
        ]
        with emitter.loop(-(-depth // lanes), "part") as part:
            start = part * index(lanes)
            if depth % lanes:
                start = tirx.Min(start, index(depth - lanes))
            channels = vector_at(emitter.bind("channel", start), lanes)
            for row, image in enumerate(images):
                value = load(self.rows, first + index(row), channels)
                factor = load(self.factors, image, channels)
                emitter.store(scratch, value * factor, [index(row), channels])
