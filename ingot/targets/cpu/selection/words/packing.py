"""Packing the weights of kernels of words, and choosing what multiplies them."""

from __future__ import annotations

import dataclasses
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
from tvm import relax, te, tirx

from ingot.targets.cpu.kernels.anchors import Word, WordPacking
from ingot.targets.cpu.kernels.tiling.tiles import Panels, choose_panels
from ingot.targets.cpu.kernels.words.amx import groups_of_step, tile_panels
from ingot.targets.cpu.kernels.words.dot import (
    GROUP,
    GROUP_OF,
    SUMS,
    Bytes,
    DotProduct,
    safe_depth,
    split_excess,
)
from ingot.targets.cpu.kernels.writing.emission import index
from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.cpu.selection.words.sources import Words


@dataclasses.dataclass(frozen=True)
class Multiplication:
    """How a layer's products are made.

    Attributes:
        dot: How vectors of words are multiplied.
        panels: The panels of its columns.
        tile_groups: Groups of the reduction that a tile of AMX takes at once; 0 where vectors
            multiply.
    """

    dot: DotProduct
    panels: Panels
    tile_groups: int = 0

    @classmethod
    def choose(
        cls,
        word: Word,
        columns: int,
        groups: int,
        rows: int | None,
        cpu: CpuDescription,
        *,
        of_image: int = 0,
    ) -> Multiplication:
        """Chooses what multiplies a matrix, or an image whose taps are one stream.

        Args:
            word: What a group of the reduction is.
            columns: Columns of the result.
            groups: Groups of the reduction, per tap along the height.
            rows: Rows of the result, of one image where there are images; None where they are not
                known before the code runs.
            cpu: The processor.
            of_image: How many of them follow each other in the operand, which vectors go by (tiles
                go on in the next row of an image); all by default.
        """
        if tile_groups := groups_of_step(groups, rows, cpu, word):
            return cls(DotProduct.of_word(word, cpu), tile_panels(columns, cpu), tile_groups)
        return cls.in_vectors(word, columns, of_image or rows, cpu)

    @classmethod
    def in_vectors(
        cls, word: Word, columns: int, rows: int | None, cpu: CpuDescription
    ) -> Multiplication:
        """Returns how vectors multiply."""
        dot = DotProduct.of_word(word, cpu)
        return cls(dot, choose_panels(columns, rows, cpu, dot.step))


@dataclasses.dataclass(frozen=True)
class PackedWeights:
    """Weights as the kernels read them; see ``kernels.words.tile.WordWeights``."""

    arrays: tuple[npt.NDArray[np.generic], ...]
    depth: int
    tile_groups: int
    word: Word = "uint8"

    @classmethod
    def pack(
        cls, weights: npt.NDArray[Any], source: Words, chosen: Multiplication
    ) -> PackedWeights:
        """Packs weights.

        Args:
            weights: [taps along the height, K, columns], of values that int8 or bfloat16 holds, K
                a multiple of a word's values.
            source: What they are multiplied with.
            chosen: How they are multiplied.
        """
        if source.word == "uint8":
            return cls.pack_bytes(weights.astype(np.int8), source.zero_point, chosen)
        # NumPy, which loads them, has no bfloat16.
        bits = weights.astype(ml_dtypes.bfloat16).view(np.uint16)
        packed = _pack(bits, chosen.panels, chosen.dot.group)
        return cls((np.ascontiguousarray(packed),), 1, chosen.tile_groups, source.word)

    @classmethod
    def pack_bytes(cls, weights: Bytes, zero_points: int, chosen: Multiplication) -> PackedWeights:
        """Packs weights of 8 bits.

        Args:
            weights: int8 [taps along the height, K, columns], K a multiple of four.
            zero_points: The activations' zero point.
            chosen: How they are multiplied.
        """
        panels = chosen.panels
        offsets = -zero_points * weights.astype(np.int64).sum((0, 1))
        depth, rest = 1, None
        if chosen.dot.saturates and not chosen.tile_groups:
            depth = safe_depth(weights)
            if depth == 0:
                weights, rest = split_excess(weights)
        arrays: list[npt.NDArray[np.generic]] = [
            _pack(weights, panels, GROUP),
            _columns(offsets[np.newaxis], panels)[:, 0].astype(np.int32),
        ]
        if rest is not None:
            arrays += _excess(_pack(rest, panels, GROUP))
        contiguous = tuple(np.ascontiguousarray(array) for array in arrays)
        return cls(contiguous, max(depth, 1), chosen.tile_groups)

    def constants(self) -> list[relax.Expr]:
        """Returns the arrays as Relax constants."""
        return [relax.const(array) for array in self.arrays]

    @property
    def kind(self) -> str:
        """What kernels are called that read them."""
        return "integer" if self.word == "uint8" else self.word

    @property
    def packing(self) -> WordPacking:
        """What the kernel needs to know of them."""
        return WordPacking(len(self.arrays), self.depth, self.tile_groups, self.word)


def _columns(array: npt.NDArray[Any], panels: Panels) -> npt.NDArray[Any]:
    """[..., columns] to [panel, ..., panel width]; columns beyond the last are zero."""
    missing = panels.count * panels.width - panels.columns
    padded = np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)])
    return np.moveaxis(padded.reshape(*array.shape[:-1], panels.count, panels.width), -2, 0)


def _pack(weights: npt.NDArray[Any], panels: Panels, group: int) -> npt.NDArray[Any]:
    """[taps, K, columns] to [panel, taps, groups, group · panel width], a group's together."""
    taps, length, _ = weights.shape
    split = _columns(weights, panels)
    grouped = split.reshape(panels.count, taps, length // group, group, panels.width)
    interleaved = np.moveaxis(grouped, 3, 4)
    return interleaved.reshape(panels.count, taps, length // group, group * panels.width)


def _excess(packed: Bytes) -> list[npt.NDArray[np.generic]]:
    """The groups of packed weights that are not all zero, where they are, and their bounds."""
    flat = packed.reshape(packed.shape[0], -1, packed.shape[-1])
    panel, group = np.nonzero(flat.any(-1))
    counts = np.bincount(panel, minlength=len(flat))
    bounds = np.concatenate([[0], np.cumsum(counts)])
    return [flat[panel, group], group.astype(np.int32), bounds.astype(np.int32)]


def weight_at(
    word: Word, weights: tuple[te.Tensor, ...], panels: Panels, tap: Any, at: Any, column: Any
) -> Any:
    """Returns a weight of the arrays that were packed: of a tap, a place in K, and a column."""
    width, group = index(panels.width), index(GROUP_OF[word])
    place = column % width * group + at % group
    weight = weights[0](column // width, tap, at // group, place)
    if word == "bfloat16":
        weight = tirx.reinterpret(word, weight)
    return tirx.Cast(SUMS[word], weight)
