"""Packing the weights of integer kernels, and choosing what multiplies them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
from tvm import relax, te, tirx

from ingot.targets.cpu.kernels.anchors import IntegerPacking
from ingot.targets.cpu.kernels.integer.amx import groups_of_step, tile_panels
from ingot.targets.cpu.kernels.integer.dot import (
    GROUP,
    Bytes,
    DotProduct,
    safe_depth,
    split_excess,
)
from ingot.targets.cpu.kernels.tiling.tiles import Panels, choose_panels
from ingot.targets.cpu.kernels.writing.emission import index
from ingot.targets.cpu.machine import CpuDescription


@dataclasses.dataclass(frozen=True)
class Multiplication:
    """How a layer's products are made.

    Attributes:
        dot: How vectors of bytes are multiplied.
        panels: The panels of its columns.
        tile_groups: Groups of the reduction that a tile of AMX takes at once; 0 where vectors
            multiply.
    """

    dot: DotProduct
    panels: Panels
    tile_groups: int = 0

    @classmethod
    def choose(
        cls, columns: int, groups: int, rows: int | None, cpu: CpuDescription, *, of_image: int = 0
    ) -> Multiplication:
        """Chooses what multiplies a matrix, or an image whose taps are one stream.

        Args:
            columns: Columns of the result.
            groups: Groups of four values of the reduction, per tap along the height.
            rows: Rows of the result, of one image where there are images; None where they are not
                known before the code runs.
            cpu: The processor.
            of_image: How many of them follow each other in the operand, which vectors go by (tiles
                go on in the next row of an image); all by default.
        """
        if tile_groups := groups_of_step(groups, rows, cpu):
            return cls(DotProduct.of(cpu), tile_panels(columns, cpu), tile_groups)
        return cls.in_vectors(columns, of_image or rows, cpu)

    @classmethod
    def in_vectors(cls, columns: int, rows: int | None, cpu: CpuDescription) -> Multiplication:
        """Returns how vectors multiply."""
        dot = DotProduct.of(cpu)
        return cls(dot, choose_panels(columns, rows, cpu, dot.step))


@dataclasses.dataclass(frozen=True)
class PackedWeights:
    """Weights as the kernels read them; see ``kernels.integer.tile.IntegerWeights``."""

    arrays: tuple[npt.NDArray[np.generic], ...]
    depth: int
    tile_groups: int

    @classmethod
    def pack(cls, weights: Bytes, zero_points: int, chosen: Multiplication) -> PackedWeights:
        """Packs weights.

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
            _pack(weights, panels),
            _columns(offsets[np.newaxis], panels)[:, 0].astype(np.int32),
        ]
        if rest is not None:
            arrays += _excess(_pack(rest, panels))
        contiguous = tuple(np.ascontiguousarray(array) for array in arrays)
        return cls(contiguous, max(depth, 1), chosen.tile_groups)

    def constants(self) -> list[relax.Expr]:
        """Returns the arrays as Relax constants."""
        return [relax.const(array) for array in self.arrays]

    @property
    def packing(self) -> IntegerPacking:
        """What the kernel needs to know of them."""
        return IntegerPacking(len(self.arrays), self.depth, self.tile_groups)


def _columns(array: npt.NDArray[Any], panels: Panels) -> npt.NDArray[Any]:
    """[..., columns] to [panel, ..., panel width]; columns beyond the last are zero."""
    missing = panels.count * panels.width - panels.columns
    padded = np.pad(array, [(0, 0)] * (array.ndim - 1) + [(0, missing)])
    return np.moveaxis(padded.reshape(*array.shape[:-1], panels.count, panels.width), -2, 0)


def _pack(weights: Bytes, panels: Panels) -> Bytes:
    """[taps, K, columns] to [panel, taps, groups, 4 · panel width], a group's four together."""
    taps, length, _ = weights.shape
    split = _columns(weights, panels)
    grouped = split.reshape(panels.count, taps, length // GROUP, GROUP, panels.width)
    interleaved = np.moveaxis(grouped, 3, 4)
    return interleaved.reshape(panels.count, taps, length // GROUP, GROUP * panels.width)


def _excess(packed: Bytes) -> list[npt.NDArray[np.generic]]:
    """The groups of packed weights that are not all zero, where they are, and their bounds."""
    flat = packed.reshape(packed.shape[0], -1, packed.shape[-1])
    panel, group = np.nonzero(flat.any(-1))
    counts = np.bincount(panel, minlength=len(flat))
    bounds = np.concatenate([[0], np.cumsum(counts)])
    return [flat[panel, group], group.astype(np.int32), bounds.astype(np.int32)]


def weight_at(
    weights: tuple[te.Tensor, ...], panels: Panels, tap: Any, at: Any, column: Any
) -> Any:
    """Returns a weight of the arrays that were packed: of a tap, a place in K, and a column."""
    width = index(panels.width)
    place = column % width * index(GROUP) + at % index(GROUP)
    return tirx.Cast("int32", weights[0](column // width, tap, at // index(GROUP), place))
