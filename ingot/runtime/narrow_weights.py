"""Weights that are stored in a shorter type than the code reads, and become longer when loaded.

Code reads float32. A model whose weights are int8 with scales, or float16, is not to grow by that:
its weights lie in the artifact in their own type, in the order in which the code reads them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.runtime.alignment import aligned_empty

Array = npt.NDArray[Any]

_NIBBLE = 4
_NIBBLE_ZERO = 8
_HALF = 16
_HIGHEST_RANK = 32


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a reader has to know beside the arrays: the attributes of :class:`Narrow`."""

    shape: tuple[int, ...]
    bits: int


@dataclasses.dataclass(frozen=True)
class Narrow:
    """A float32 tensor in a shorter type.

    Attributes:
        shape: The tensor's shape.
        stored: int8 or uint8 with a scale, of the tensor's shape, or two of them per byte (then
            uint8 of one axis, the first one in the lower half, 8 added to each); float16; or the
            upper halves of float32, uint16.
        scale: float32, of the tensor's rank; along each axis the tensor has as many elements, or a
            multiple, of which each run shares one. None for float16 and upper halves.
        zero: What is subtracted before the scale multiplies, int16 of the scale's shape; None for
            nothing.
        bits: 4 where two integers share a byte, else those of ``stored``.
    """

    shape: tuple[int, ...]
    stored: Array
    scale: Array | None = None
    zero: Array | None = None
    bits: int = 8

    @property
    def tensors(self) -> dict[str, Array]:
        """The arrays that are stored, by the suffix of their names."""
        given = {"": self.stored, ".scale": self.scale, ".zero": self.zero}
        return {suffix: array for suffix, array in given.items() if array is not None}

    @property
    def facts(self) -> dict[str, Any]:
        """What a reader has to know beside the arrays."""
        return {"shape": list(self.shape), "bits": self.bits}

    @classmethod
    def of(cls, name: str, facts: Facts, tensors: Mapping[str, Array]) -> Narrow:
        """Reads one back.

        Args:
            name: The tensor's name.
            facts: What :attr:`facts` gave.
            tensors: All arrays of the file by name.

        Raises:
            ValueError: An array is missing, or facts and arrays do not fit together.
        """
        if name not in tensors:
            raise ValueError(f"tensor {name!r} is missing")
        found = cls(
            facts.shape,
            tensors[name],
            tensors.get(f"{name}.scale"),
            tensors.get(f"{name}.zero"),
            facts.bits,
        )
        if not found._fits():
            raise ValueError(f"the parts of {name!r} do not fit together")
        return found

    def _fits(self) -> bool:
        """Whether :meth:`expand` can do with what it has."""
        if len(self.shape) > _HIGHEST_RANK or any(size < 0 for size in self.shape):
            return False
        expected = (-(-math.prod(self.shape) // 2),) if self.bits == _NIBBLE else self.shape
        if self.stored.shape != expected:
            return False
        dtype = self.stored.dtype.name
        if self.scale is None:
            return self.zero is None and self.bits == _HALF and dtype in ("float16", "uint16")
        runs = self.scale.shape
        kinds = {_NIBBLE: ("uint8",), 8: ("int8", "uint8")}
        return (
            dtype in kinds.get(self.bits, ())
            and self.scale.dtype == np.float32
            and len(runs) == len(self.shape)
            and all(run > 0 and size % run == 0 for size, run in zip(self.shape, runs, strict=True))
            and (self.zero is None or (self.zero.dtype == np.int16 and self.zero.shape == runs))
        )

    def expand(self) -> Array:
        """Returns the tensor, float32, aligned for vector code."""
        result = aligned_empty(self.shape, np.dtype(np.float32))
        if self.scale is None:
            if self.stored.dtype == np.uint16:
                result.view(np.uint32)[...] = self.stored
                result.view(np.uint32)[...] <<= 16
            else:
                result[...] = self.stored
            return result
        runs = [
            (count, size // count) for size, count in zip(self.shape, self.scale.shape, strict=True)
        ]
        split = [extent for run in runs for extent in run]
        along = [extent for count, _ in runs for extent in (count, 1)]
        integers = self._integers().reshape(split)
        if self.zero is not None:
            integers = integers.astype(np.int16) - self.zero.reshape(along)
        np.multiply(integers, self.scale.reshape(along), out=result.reshape(split))
        return result

    def _integers(self) -> Array:
        if self.bits != _NIBBLE:
            return self.stored
        count = math.prod(self.shape)
        both = np.stack([self.stored & 15, self.stored >> 4], axis=1).reshape(-1)[:count]
        integers: Array = (both.astype(np.int8) - _NIBBLE_ZERO).reshape(self.shape)
        return integers
