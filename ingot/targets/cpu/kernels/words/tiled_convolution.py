"""Convolution of words in the tiles of AMX, on rows that were copied with their padding.

A tile's 16 rows are neighbouring pixels. Where an image is so narrow that a row of it leaves most
of a tile empty, and every pixel is read, the copied rows are taken as one row: the tile goes on in
the next one, and what it computes of the padding between them is not stored.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import ClassVar, TypeVar

from tvm import tirx

from ingot.targets.cpu.kernels.tiling.axes import Axis
from ingot.targets.cpu.kernels.words.amx import TILE_ROWS, TILES_AT_ONCE, TileRows, TileSums
from ingot.targets.cpu.kernels.words.padded_rows import PaddedImage, PaddedRows
from ingot.targets.cpu.kernels.writing.emission import index, load

_Extent = TypeVar("_Extent", int, tirx.Expr)

# Returns what a tile takes, given its number.
_Tiles = Callable[[tirx.Expr], TileRows]


def elements_beyond(width: Axis, channels: int) -> int:
    """Returns how many elements tiles may read beyond the last of the copied rows."""
    return TILE_ROWS * TILES_AT_ONCE * width.stride * channels


@dataclasses.dataclass(frozen=True)
class TiledConvolution:
    """A convolution in tiles while it is written.

    Attributes:
        sums: Writes its sums.
        image: What it reads.
        groups: Groups of channels: tiles take all channels at once.
    """

    groups: ClassVar[int] = 1

    sums: TileSums
    image: PaddedImage

    @property
    def goes_on(self) -> bool:
        """Whether a tile goes on in the next row."""
        height, width = self.image.height, self.image.width
        if (height.stride, width.stride) != (1, 1):
            return False
        as_one = (height.result - 1) * self.image.padded_width + width.result
        return -(-as_one // TILE_ROWS) < height.result * self._tiles_of_row

    @property
    def _tiles_of_row(self) -> int:
        return -(-self.image.width.result // TILE_ROWS)

    def _tiles_of_rows(self, rows: _Extent) -> _Extent:
        if not self.goes_on:
            return rows * self._tiles_of_row
        pixels = (rows - 1) * self.image.padded_width + self.image.width.result
        return (pixels + (TILE_ROWS - 1)) // TILE_ROWS

    @contextlib.contextmanager
    def task(
        self, rows: PaddedRows, number: tirx.Expr, bounds: tuple[tirx.Expr, tirx.Expr], most: int
    ) -> Iterator[Callable[[tirx.Expr, int], None]]:
        """Opens a task; yields what writes the code of its rows for a panel.

        Args:
            rows: The rows that it reads.
            number: Which image.
            bounds: The first row of the result, and one more than the last.
            most: How many rows these are at most.
        """
        emitter = self.sums.emitter
        low, high = bounds
        at_once = index(TILES_AT_ONCE)
        count = emitter.bind("tiles", self._tiles_of_rows(high - low))
        passes = -(-self._tiles_of_rows(most) // TILES_AT_ONCE)
        if self.goes_on:
            tile = self._along_all(rows, number, bounds)
        else:
            tile = self._along_rows(rows, number, low, count)

        def write(panel: tirx.Expr, columns: int) -> None:
            with emitter.loop((count + at_once - 1) // at_once, "pair") as pair:
                first = pair * at_once
                parts = [tile(first), tile(first + index(1))]
                self.sums.write(sums, panel, columns, parts, (pair, passes))

        with self.sums.task() as sums:
            yield write

    def _along_rows(
        self, rows: PaddedRows, number: tirx.Expr, low: tirx.Expr, count: tirx.Expr
    ) -> _Tiles:
        """Tiles that end where their row does."""
        emitter, height, width = self.sums.emitter, self.image.height, self.image.width
        of_row = index(self._tiles_of_row)

        def tile(wanted: tirx.Expr) -> TileRows:
            # Beyond the last, the last again, of which nothing is stored.
            at = emitter.bind("tile", tirx.Min(wanted, count - 1))
            y = emitter.bind("y", low + at // of_row)
            x = emitter.bind("x", at % of_row * index(TILE_ROWS))
            most = tirx.Min(index(width.result) - x, index(TILE_ROWS))
            stored = tirx.Select(wanted < count, most, index(0))
            top = emitter.bind("staged_top", y * index(height.stride) - rows.first)
            start = x * index(width.stride * self.image.channels)
            return self._rows(rows, top, start, stored, lambda row: [number, y, x + row])

        return tile

    def _along_all(
        self, rows: PaddedRows, number: tirx.Expr, bounds: tuple[tirx.Expr, tirx.Expr]
    ) -> _Tiles:
        """Tiles that go on in the next row."""
        emitter, (low, high) = self.sums.emitter, bounds
        padded, result = index(self.image.padded_width), index(self.image.width.result)

        def tile(wanted: tirx.Expr) -> TileRows:
            first = emitter.bind("first_pixel", wanted * index(TILE_ROWS))

            def position(row: tirx.Expr) -> list[tirx.Expr]:
                return [number, low + (first + row) // padded, (first + row) % padded]

            def inside(row: tirx.Expr) -> tirx.Expr:
                _, y, x = position(row)
                return tirx.all(x < result, y < high)

            found = self._rows(
                rows, index(0), first * index(self.image.channels), index(TILE_ROWS), position
            )
            return dataclasses.replace(found, inside=inside)

        return tile

    def _rows(
        self,
        rows: PaddedRows,
        top: tirx.Expr,
        start: tirx.Expr,
        stored: tirx.Expr,
        position: Callable[[tirx.Expr], list[tirx.Expr]],
    ) -> TileRows:
        dilation = index(self.image.height.dilation)
        return TileRows(
            lambda tap, group: load(
                rows.buffer, top + tap * dilation, start + group * index(self.sums.group)
            ),
            self.image.width.stride * self.image.channels * self.sums.weights.element_bytes,
            (index(0), stored),
            position,
        )
