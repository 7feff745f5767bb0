"""Dot products of 32-bit words, one per lane, in the processor's instructions.

A word holds neighbours along the reduction: four 8-bit values, or two of bfloat16. A row's word is
repeated in all lanes, and the weights' lie interleaved by column. Of bfloat16 there is one way,
``vdpbf16ps`` (:mod:`ingot.targets.cpu.bfloat16`). Of bytes, rows are unsigned (activations), and
weights signed:

* VNNI (``vpdpbusd``), and NEON's ``usdot``: one exact instruction.
* AVX2, AVX-512 without VNNI, SSSE3: ``pmaddubsw`` adds two products in 16 bits, and saturates when
  the two weights are large: 255 · (w0 + w1) above 32,767. Whether that can happen is known when the
  weights are: it cannot where weights of one sign that are added sum up to 128 at most
  (:func:`safe_depth`). Where so much holds for four of them, two such results are added in
  16 bits before ``pmaddwd`` widens the sum, which saves one instruction in six. Where it does not
  even hold for two, the excess goes into steps of its own (:func:`split_excess`): exact as well,
  and slower.
* Elsewhere: plain multiplications in 32 bits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from tvm import tirx

from ingot.targets.cpu.bfloat16 import add_products
from ingot.targets.cpu.kernels.anchors import Word
from ingot.targets.cpu.kernels.tiling.tiles import MULTIPLY_ADD, PairedProducts, Step
from ingot.targets.cpu.machine import CpuDescription

Bytes = npt.NDArray[np.int8]

GROUP = WORD_BYTES = 4
"""Bytes of the reduction that a 32-bit lane takes at once."""
GROUP_OF: Mapping[Word, int] = {"uint8": 4, "bfloat16": 2}
"""Values of the reduction in a word."""
STAGED: Mapping[Word, str] = {"uint8": "uint8", "bfloat16": "uint16"}
"""The type of copies of rows: of bfloat16 the bits."""
SUMS: Mapping[Word, str] = {"uint8": "int32", "bfloat16": "float32"}
"""The type in which products of words are added."""

# 255 times so much fits into 16 bits with its sign.
_LARGEST_SAFE_SUM = 128

_MADDUBS = {
    4: "llvm.x86.ssse3.pmadd.ub.sw.128",
    8: "llvm.x86.avx2.pmadd.ub.sw",
    16: "llvm.x86.avx512.pmaddubs.w.512",
}
_MADDWD = {
    4: "llvm.x86.sse2.pmadd.wd",
    8: "llvm.x86.avx2.pmadd.wd",
    16: "llvm.x86.avx512.pmaddw.d.512",
}
_DPBUSD = {
    8: "llvm.x86.avx512.vpdpbusd.256",
    16: "llvm.x86.avx512.vpdpbusd.512",
}
_USDOT = "llvm.aarch64.neon.usdot.v4i32.v16i8"

Kind = Literal["vdpbf16ps", "vpdpbusd", "usdot", "pmaddubsw", "plain"]


@dataclasses.dataclass(frozen=True)
class DotProduct:
    """How a processor multiplies bytes, or pairs of bfloat16.

    Attributes:
        kind: The instruction.
        lanes: 32-bit lanes of a vector.
    """

    kind: Kind
    lanes: int

    @classmethod
    def of_word(cls, word: Word, cpu: CpuDescription) -> DotProduct:
        """Returns how a processor multiplies words of a kind; of bfloat16, that it has to do so."""
        return cls.of(cpu) if word == "uint8" else cls("vdpbf16ps", cpu.float_lanes)

    @classmethod
    def of(cls, cpu: CpuDescription) -> DotProduct:
        """Returns the best that a processor has for bytes."""
        lanes, features = cpu.float_lanes, set(cpu.features)
        if cpu.architecture == "aarch64":
            return cls("usdot" if "i8mm" in features else "plain", lanes)
        if (lanes == 16 and "avx512_vnni" in features) or (
            lanes == 8 and ("avx_vnni" in features or {"avx512_vnni", "avx512vl"} <= features)
        ):
            return cls("vpdpbusd", lanes)
        if (lanes, "avx512bw" in features) == (16, False):
            return cls("plain", lanes)
        return cls("pmaddubsw" if "ssse3" in features else "plain", lanes)

    @property
    def group(self) -> int:
        """Values of the reduction that a lane takes at once."""
        return GROUP_OF[self.word]

    @property
    def word(self) -> Word:
        """What it multiplies."""
        return "bfloat16" if self.kind == "vdpbf16ps" else "uint8"

    @property
    def sums(self) -> str:
        """The accumulators' type."""
        return SUMS[self.word]

    @property
    def saturates(self) -> bool:
        """Whether large weights have to be looked after."""
        return self.kind == "pmaddubsw"

    @property
    def step(self) -> Step:
        """What a step of the reduction takes of the processor."""
        return PairedProducts() if self.kind == "pmaddubsw" else MULTIPLY_ADD

    def spread(self, word: tirx.Expr, *, half: bool = False) -> tirx.Expr:
        """Repeats a word of a row, ``uint8x4`` or ``bfloat16x2``, in all lanes.

        Args:
            word: The word.
            half: Whether zero takes the place of its upper half.
        """
        bits = tirx.reinterpret("int32", word)
        if half:
            bits = tirx.bitwise_and(bits, tirx.const(0xFFFF, "int32"))
        repeated = tirx.Broadcast(bits, self.lanes)
        if self.kind == "vdpbf16ps":
            return repeated
        return tirx.reinterpret(f"int8x{GROUP * self.lanes}", repeated)

    def weights(self, loaded: tirx.Expr) -> tirx.Expr:
        """Returns a vector of weights, ``int8`` or bits in ``uint16``, as :meth:`add` takes it."""
        if self.kind == "vdpbf16ps":
            return tirx.reinterpret(f"int32x{self.lanes}", loaded)
        return loaded

    def add(
        self, total: tirx.Expr, rows: Sequence[tirx.Expr], weights: Sequence[tirx.Expr]
    ) -> tirx.Expr:
        """Adds dot products to accumulators.

        Args:
            total: Accumulators, one per lane.
            rows: What :meth:`spread` gave, one per group of the reduction; more than one only where
                the weights allow it (:func:`safe_depth`).
            weights: What :meth:`weights` gave, of each group.
        """
        if self.kind == "pmaddubsw":
            ones = tirx.Broadcast(tirx.const(1, "int16"), 2 * self.lanes)
            sums = [
                _call(f"int16x{2 * self.lanes}", _MADDUBS[self.lanes], row, weight)
                for row, weight in zip(rows, weights, strict=True)
            ]
            pairs = sums[0]
            for other in sums[1:]:
                pairs = pairs + other
            return total + _call(f"int32x{self.lanes}", _MADDWD[self.lanes], pairs, ones)
        for row, weight in zip(rows, weights, strict=True):
            total = self._add_exactly(total, row, weight)
        return total

    def _add_exactly(self, total: tirx.Expr, row: tirx.Expr, weight: tirx.Expr) -> tirx.Expr:
        if self.kind == "vdpbf16ps":
            return add_products(total, row, weight)
        if self.kind == "vpdpbusd":
            return _call(f"int32x{self.lanes}", _DPBUSD[self.lanes], total, row, weight)
        if self.kind == "usdot":
            return _call(f"int32x{self.lanes}", _USDOT, total, row, weight)
        unsigned = tirx.reinterpret(f"uint8x{GROUP * self.lanes}", row)
        for value in range(GROUP):
            left, right = (
                tirx.Cast(f"int32x{self.lanes}", _every(vector, value, self.lanes))
                for vector in (unsigned, weight)
            )
            total = total + left * right
        return total


def _call(dtype: str, intrinsic: str, *operands: tirx.Expr) -> tirx.Expr:
    return tirx.call_llvm_pure_intrin(dtype, intrinsic, *operands)


def _every(vector: tirx.Expr, first: int, lanes: int) -> tirx.Expr:
    """Takes every fourth element of a vector."""
    chosen = [tirx.const(first + GROUP * lane, "int32") for lane in range(lanes)]
    return tirx.Shuffle([vector], chosen)


def safe_depth(weights: Bytes) -> int:
    """Returns how many groups may be added in 16 bits.

    Args:
        weights: [..., K, columns], K a multiple of four.

    Returns:
        2 or 1; 0 where even one group may saturate.
    """
    grouped = weights.reshape(*weights.shape[:-2], -1, GROUP // 2, 2, weights.shape[-1])
    if grouped.shape[-4] % 2:
        odd = [(0, 0)] * grouped.ndim
        odd[-4] = (0, 1)
        grouped = np.pad(grouped, odd)
    single = np.concatenate([_sums(grouped, sign, -2).ravel() for sign in (1, -1)])
    # [..., step of two groups, group, pair, two, columns]
    steps = grouped.reshape(*grouped.shape[:-4], -1, 2, *grouped.shape[-3:])
    double = np.concatenate([_sums(steps, sign, (-4, -2)).ravel() for sign in (1, -1)])
    if double.max(initial=0) <= _LARGEST_SAFE_SUM:
        return 2
    return 1 if single.max(initial=0) <= _LARGEST_SAFE_SUM else 0


def _sums(
    weights: npt.NDArray[np.generic], sign: int, axes: int | tuple[int, ...]
) -> npt.NDArray[np.int64]:
    signed = weights.astype(np.int64) * sign
    sums: npt.NDArray[np.int64] = np.maximum(signed, 0).sum(axes)
    return sums


def split_excess(weights: Bytes) -> tuple[Bytes, Bytes]:
    """Splits weights into two parts, of which neither saturates.

    Args:
        weights: [..., K, columns], K a multiple of four.

    Returns:
        What of each weight is safe with its neighbour, and the rest, nearly all zero.
    """
    pairs = weights.reshape(*weights.shape[:-2], -1, 2, weights.shape[-1]).astype(np.int16)
    first, second = pairs[..., 0, :], pairs[..., 1, :]
    same_sign = (first > 0) == (second > 0)
    over = np.maximum(np.abs(first) + np.abs(second) - _LARGEST_SAFE_SUM, 0) * same_sign
    safe = pairs.copy()
    safe[..., 0, :] -= np.sign(first) * over
    rest = pairs - safe
    return (
        safe.astype(np.int8).reshape(weights.shape),
        rest.astype(np.int8).reshape(weights.shape),
    )
