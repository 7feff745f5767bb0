"""Sums in the tiles of AMX, Intel's matrix unit.

One instruction, ``tdpbusd``, multiplies 16 rows of 64 bytes with 16 columns of 64 bytes, as many
products as 128 of VNNI's lanes: Intel 64 and IA-32 Architectures Software Developer's Manual,
volume 1, chapter 18. Of the eight tiles four hold sums, 32 rows by 32 columns, two hold rows and
two weights, which lie in memory as VNNI's do. An instruction takes 16 cycles however few of its
columns along the reduction or its rows are used, so that kernels cut the rows at multiples of 16.

Sums leave the tiles through memory: the epilogue reads a row of them at a time from the first-level
cache. Those of bytes are the same integers as everywhere else. ``tdpbf16ps`` multiplies pairs of
bfloat16 instead; it adds the first and the second of the pairs of a row each by itself, in float32,
and then both sums to the tile's, so that it rounds otherwise than ``vdpbf16ps``.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar, Literal

from tvm import tirx
from tvm.tirx import stmt as statements

from ingot.targets.cpu.kernels.anchors import Anchor, Word
from ingot.targets.cpu.kernels.fusion.epilogue import FusedKernel
from ingot.targets.cpu.kernels.tiling.microkernel import vectors_at_once
from ingot.targets.cpu.kernels.tiling.tiles import Panels
from ingot.targets.cpu.kernels.words.dot import GROUP_OF, SUMS, WORD_BYTES
from ingot.targets.cpu.kernels.words.weights import WordWeights
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, load
from ingot.targets.cpu.machine import CpuDescription

TILE_ROWS = 16
"""Rows of a tile, of 64 bytes each."""

TILES_AT_ONCE = 2
"""Tiles of rows that share a tile of weights, and the reverse."""

SUM_TILES = TILES_AT_ONCE * TILES_AT_ONCE
"""Tiles of sums, the first ones."""

WIDEST_STEP = 16
"""Groups of the reduction that a tile takes at most."""

# Of fewer rows a tile would be less than half full, and takes no less time.
_FEWEST_ROWS = 8
_ROWS, _WEIGHTS = SUM_TILES, SUM_TILES + TILES_AT_ONCE
# Of a row of a tile, and of a sum in it.
_COLUMN_BYTES = 64
_SUM_BYTES = 4


_MULTIPLY: Mapping[Word, str] = {"uint8": "tdpbusd", "bfloat16": "tdpbf16ps"}
_FEATURES: Mapping[Word, str] = {"uint8": "amx_int8", "bfloat16": "amx_bf16"}


def has_tiles(cpu: CpuDescription, word: Word = "uint8") -> bool:
    """Returns whether a processor multiplies words of a kind in tiles."""
    return {"amx_tile", _FEATURES[word]} <= set(cpu.features)


def tile_panels(columns: int, cpu: CpuDescription) -> Panels:
    """Returns the panels of a kernel that multiplies in tiles."""
    return Panels(columns, cpu.float_lanes, min(TILES_AT_ONCE, -(-columns // cpu.float_lanes)))


def groups_of_step(
    groups: int, extent: int | None, cpu: CpuDescription, word: Word = "uint8"
) -> int:
    """Returns how many groups of the reduction a tile takes at once, 0 where tiles do not pay.

    They have to divide the reduction: no instruction reads beyond it. A step of all 16 is best, and
    steps of half as many are still better than vectors.

    Args:
        groups: Groups of the reduction, per tap along the height.
        extent: Rows of the result, None where they are not known before the code runs.
        cpu: The processor.
        word: What a group is.
    """
    if not has_tiles(cpu, word):
        return 0
    if extent is not None and extent < _FEWEST_ROWS:
        return 0
    fewest = -(-groups // WIDEST_STEP)
    steps = next((steps for steps in range(fewest, 2 * fewest) if groups % steps == 0), None)
    return groups // steps if steps else 0


@dataclasses.dataclass(frozen=True)
class TileRows:
    """Rows of the left operand that a tile takes, and what becomes of their sums.

    Attributes:
        first: Loads the first row's first byte: of the tap's row, and from the group on.
        pitch: Bytes from one row to the next.
        stored: The first row, and one more than the last, whose sums are stored.
        position: Returns the leading coordinates of a row in the result.
        inside: Whether a row's sums are stored; all by default.
    """

    first: Callable[[tirx.Expr, tirx.Expr], tirx.Expr]
    pitch: int
    stored: tuple[tirx.Expr, tirx.Expr]
    position: Callable[[tirx.Expr], list[tirx.Expr]]
    inside: Callable[[tirx.Expr], tirx.Expr] | None = None


@dataclasses.dataclass(frozen=True)
class TileSums:
    """Writes the code that adds up sums in tiles, and stores them through the epilogue.

    Attributes:
        emitter: Where the statements go.
        kernel: The fused prim func.
        weights: Its weights.
        panels: The columns' panels, of two tiles at most.
        speed: How much faster than float32 multiply-adds, epilogue included.
    """

    speed: ClassVar[int] = 12

    emitter: Emitter
    kernel: FusedKernel[Anchor]
    weights: WordWeights
    panels: Panels

    @contextlib.contextmanager
    def task(self, rows: int | tirx.Expr = TILE_ROWS) -> Iterator[tirx.Buffer]:
        """Opens a task: sets the tiles' shapes up, and gives them back at its end.

        Args:
            rows: Rows of a tile.

        Yields:
            Where sums are put for the epilogue.
        """
        with tile_shapes(self.emitter, rows, self.weights.tile_groups):
            yield self.emitter.allocate(
                "sums", [TILES_AT_ONCE * TILE_ROWS * self.panels.width], SUMS[self.word]
            )

    @property
    def word(self) -> Word:
        """What it multiplies."""
        return self.weights.word

    @property
    def group(self) -> int:
        """Values of a word."""
        return GROUP_OF[self.word]

    def write(
        self,
        sums: tirx.Buffer,
        panel: tirx.Expr,
        columns: int,
        parts: Sequence[TileRows],
        share: tuple[tirx.Expr, int] | None = None,
    ) -> None:
        """Writes the code for some tiles of rows and a panel.

        Args:
            sums: What :meth:`task` gave.
            panel: The panel.
            columns: Columns of the panel.
            parts: The rows of each tile, two at most.
            share: Which of how many passes over the panel this is, where each is to ask for its
                share of the next panel's weights.
        """
        emitter, weights, lanes = self.emitter, self.weights, self.panels.lanes
        width, vectors = self.panels.width, range(-(-columns // self.panels.lanes))
        tiles = [[TILES_AT_ONCE * number + v for v in vectors] for number in range(len(parts))]
        for row in tiles:
            for v in vectors:
                if weights.offsets is None:
                    _emit(emitter, "tilezero", _tile(row[v]))
                    continue
                # From one row again and again: each row's sums begin with the same offsets.
                offsets = load(weights.offsets, panel, v * lanes)
                move_tile(emitter, "tileloadd64", row[v], offsets, 0)
        steps = weights.groups // weights.tile_groups
        with emitter.loop(weights.taps, "tap_y") as tap, emitter.loop(steps, "step") as step:
            first = step * index(weights.tile_groups)
            weights.prefetch_next(emitter, panel, (tap, first), weights.tile_groups, share)
            for v in vectors:
                column = load(weights.packed, panel, tap, first, v * lanes * self.group)
                move_tile(emitter, "tileloadd64", _WEIGHTS + v, column, WORD_BYTES * width)
            for number, part in enumerate(parts):
                values = part.first(tap, first)
                move_tile(emitter, "tileloadd64", _ROWS + number, values, part.pitch)
                for v in vectors:
                    operands = tiles[number][v], _ROWS + number, _WEIGHTS + v
                    multiply_tiles(emitter, *operands, self.word)
        for number, row in enumerate(tiles):
            for v in vectors:
                there = load(sums, number * TILE_ROWS * width + v * lanes)
                move_tile(emitter, "tilestored64", row[v], there, _SUM_BYTES * width)
        for number, part in enumerate(parts):
            self._store(sums, number * TILE_ROWS * width, panel, columns, part)

    def _store(
        self, sums: tirx.Buffer, start: int, panel: tirx.Expr, columns: int, part: TileRows
    ) -> None:
        emitter, panels = self.emitter, self.panels
        low, high = part.stored
        with contextlib.ExitStack() as stack:
            row = stack.enter_context(emitter.loop(high - low, "stored_row", start=low))
            if part.inside is not None:
                stack.enter_context(emitter.when(part.inside(row)))
            leading, first = part.position(row), 0
            for wide in vectors_at_once(columns, -(-columns // panels.lanes), panels.lanes):
                column = first * panels.lanes
                self.kernel.epilogue.store(
                    emitter,
                    sums,
                    row * index(panels.width) + index(start + column),
                    [*leading, panel * index(panels.width) + index(column)],
                    lanes=panels.lanes * wide,
                    valid=columns - column,
                )
                first += wide


@contextlib.contextmanager
def tile_shapes(emitter: Emitter, rows: int | tirx.Expr, groups: int) -> Iterator[None]:
    """Sets the tiles' shapes up, and gives them back at the end.

    Args:
        emitter: Where the statements go.
        rows: Rows of the result that a tile takes.
        groups: Groups of the reduction that a tile takes.
    """
    words = emitter.allocate("tile_shapes", [8], "int64")
    for at, word in enumerate(_shapes(rows, groups)):
        emitter.store(words, word, [at])
    _emit(emitter, "ldtilecfg", _pointer(load(words, 0)))
    yield
    _emit(emitter, "tilerelease")


def move_tile(
    emitter: Emitter,
    operation: Literal["tileloadd64", "tilestored64"],
    tile: int,
    first: tirx.Expr,
    pitch: int,
) -> None:
    """Loads or stores a tile.

    Args:
        emitter: Where the statements go.
        operation: Which of the two.
        tile: The tile.
        first: Loads what its first row begins with.
        pitch: Bytes from one row to the next.
    """
    _emit(emitter, operation, _tile(tile), _pointer(first), index(pitch))


def multiply_tiles(
    emitter: Emitter, sums: int, rows: int, weights: int, word: Word = "uint8"
) -> None:
    """Adds a tile of rows times one of weights to one of sums."""
    _emit(emitter, _MULTIPLY[word], *map(_tile, (sums, rows, weights)))


def _emit(emitter: Emitter, operation: str, *operands: tirx.Expr) -> None:
    call = tirx.call_llvm_intrin("void", f"llvm.x86.{operation}", *operands)
    emitter.emit(statements.Evaluate(call))


def _shapes(rows: int | tirx.Expr, groups: int) -> list[tirx.Expr]:
    """The operand of ``ldtilecfg``, eight words: bytes of a row, and rows, of each tile."""
    row_bytes = [_COLUMN_BYTES] * SUM_TILES + [WORD_BYTES * groups] * 2 + [_COLUMN_BYTES] * 2
    low, high = (
        index(sum(size << (16 * at) for at, size in enumerate(row_bytes[first : first + 4])))
        for first in (0, 4)
    )
    of_each = sum(1 << (8 * tile) for tile in range(_WEIGHTS))
    counts = index(rows) * index(of_each) + index((groups << 48) | (groups << 56))
    return [index(1), index(0), low, high, index(0), index(0), counts, index(0)]


def _pointer(element: tirx.Expr) -> tirx.Expr:
    """The address of an element.

    By the buffer itself: TVM does not count ``address_of`` as a use, and gives the memory to
    another buffer behind the last one that it counts. A parameter's memory is not given away, and
    those of bfloat16 become parameters of bits, which pointers into them have to follow.
    """
    buffer = element.source
    if str(buffer.dtype) == "bfloat16":
        return tirx.address_of(element)
    (offset,) = buffer.offset_of(element.indices)
    return buffer.access_ptr("rw", offset=offset)


def _tile(number: int) -> tirx.Expr:
    return tirx.const(number, "int8")
