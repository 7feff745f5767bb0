"""Narrowing of 32-bit integers to bytes with saturation, for vectors of AVX-512.

LLVM narrows each vector by itself (``vpmovsdw``, ``vpmovuswb``), of two operations each, and joins
halves: fourteen operations for 64 bytes. ``vpackssdw`` and ``vpackuswb`` take two vectors each and
interleave them by groups of 128 bits, which one permutation puts right: four operations.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import tirx

from ingot.targets.cpu.kernels.writing.emission import Emitter, load, vector_at
from ingot.targets.cpu.kernels.writing.lanes import shuffle
from ingot.targets.cpu.machine import CpuDescription

NARROWED_LANES = (32, 64)
"""How many lanes at once gain by it."""

# Of a vector of AVX-512, and how many groups of 128 bits it has.
_LANES = 16
_GROUPS = 4
_TO_WORDS = "llvm.x86.avx512.packssdw.512"
_TO_BYTES = {"uint8": "llvm.x86.avx512.packuswb.512", "int8": "llvm.x86.avx512.packsswb.512"}


def packs_bytes(cpu: CpuDescription) -> bool:
    """Returns whether a processor has the instructions, on the vectors that kernels use."""
    return cpu.float_lanes == _LANES and "avx512bw" in cpu.features


def narrowed(expression: tirx.Expr) -> tirx.Expr | None:
    """Returns the ``int32`` that an expression narrows to 8 bits with saturation, in two steps.

    None for any other expression.
    """
    dtype = str(expression.ty.dtype)
    if dtype not in _TO_BYTES:
        return None
    half = _saturated(expression, dtype)
    whole = None if half is None else _saturated(half, "int16")
    return whole if whole is not None and str(whole.ty.dtype) == "int32" else None


def _saturated(expression: Any, dtype: str) -> Any:
    """What is clamped to a type's limits and then cast to it; None for another expression."""
    limits = np.iinfo(dtype)
    if not isinstance(expression, tirx.Cast) or str(expression.ty.dtype) != dtype:
        return None
    found = expression.value
    for operator, limit in ((tirx.Max, limits.min), (tirx.Min, limits.max)):
        if not isinstance(found, operator) or not isinstance(found.b, tirx.IntImm):
            return None
        if int(found.b.value) != limit:
            return None
        found = found.a
    return found


def narrow(emitter: Emitter, source: tirx.Buffer, dtype: str) -> tirx.Expr:
    """Narrows two or four vectors.

    Args:
        emitter: Where the statements go.
        source: int32 [32] or [64].
        dtype: ``uint8`` or ``int8``.

    Returns:
        A vector of as many bytes.
    """
    count = int(source.shape[0]) // _LANES
    vectors = [load(source, vector_at(number * _LANES, _LANES)) for number in range(count)]
    words = [
        emitter.bind("words", _packed("int16x32", _TO_WORDS, *vectors[first : first + 2]))
        for first in range(0, count, 2)
    ]
    both = _packed(f"{dtype}x64", _TO_BYTES[dtype], words[0], words[-1])
    interleaved = emitter.bind("bytes", both)
    order = [group * _GROUPS + number for number in range(count) for group in range(_GROUPS)]
    put_right = shuffle([tirx.reinterpret(f"int32x{_LANES}", interleaved)], order)
    return tirx.reinterpret(f"{dtype}x{count * _LANES}", put_right)


def _packed(dtype: str, intrinsic: str, low: tirx.Expr, high: tirx.Expr) -> tirx.Expr:
    return tirx.call_llvm_pure_intrin(dtype, intrinsic, low, high)
