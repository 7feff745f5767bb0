"""Random inputs that a model accepts: for reference runs where no real data is given."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir

from ingot.compiler.open_dimensions import real_inputs
from ingot.compiler.operand_values import operand_values
from ingot.compiler.sizes import BATCH, OpenSizes, Sizes, default_size, dimensions, size_of
from ingot.compiler.words import random_map, random_strings
from ingot.errors import InputError, ModelError
from ingot.onnx_graph.protos import map_type
from ingot.reference.session import Array, Value

_SEQUENCE_ELEMENTS = 3
# The shape of elements of a sequence, or of an optional, whose rank is not said.
_UNKNOWN_ELEMENT = (2, 3)
# Of an input that is called a length, such as ``x_lens``.
_LENGTH_NAMES = ("length", "lens", "_len")


class Spread(enum.Enum):
    """What floats are drawn from: a distribution, and what it is multiplied by.

    A logarithm wants positive numbers, a frequency is in the hundreds, and an activation behind a
    large sum saturates on all but small ones.
    """

    NORMAL = ("standard_normal", 1.0)
    POSITIVE = ("random", 1.0)
    SMALL = ("standard_normal", 0.01)
    LARGE = ("standard_normal", 100.0)
    LARGE_POSITIVE = ("random", 1000.0)

    def draw(self, generator: np.random.Generator, shape: Sequence[int]) -> Array:
        """Draws float64 numbers."""
        method, factor = self.value
        return np.asarray(getattr(generator, method)(tuple(shape))) * factor


def random_inputs(
    model: ir.Model,
    shapes: Mapping[str, Sequence[int]] | None = None,
    seed: int = 0,
    *,
    batch: int = BATCH,
    sizes: Sizes | None = None,
    spread: Spread = Spread.NORMAL,
    masked: bool = False,
) -> dict[str, Value]:
    """Makes one array for each input of a model.

    Floats are drawn from the standard normal distribution, masks (by name) are ones, booleans are
    fair coins, indices are drawn from what they index, other operands from what their operators
    accept, other signed integers from {0, 1}, and those of at most 8 bits from their whole range.

    Args:
        model: The model.
        shapes: Shapes by input name. An open dimension that no shape fixes gets ``batch`` if it is
            the first, 64 for pixels (an image's height and width), else 16; equal symbols get
            equal sizes.
        seed: Equal seeds give equal arrays.
        batch: Size of an open first dimension.
        sizes: Sizes of symbols, over those above.
        spread: What floats are drawn from.
        masked: Whether masks end in zeros, row by row after a random length; else they are ones.

    Returns:
        Arrays by input name, of the inputs' dtypes; a list of three of them for a sequence.

    Raises:
        InputError: A given shape does not fit the input, or names no input.
        ModelError: The model does not say an input's rank or dtype, or no values can be made.
    """
    shapes = shapes or {}
    values = real_inputs(model)
    names = [value.name for value in values]
    for name in shapes:
        if name not in names:
            raise InputError(
                f"no input is named '{name}'; the inputs are {', '.join(map(str, names))}"
            )
    chosen = {**_symbol_sizes(model, shapes, batch), **(sizes or {})}
    generator = np.random.default_rng(seed)
    drawn: dict[str, Value] = {}
    for value in values:
        kind = map_type(value)
        if kind is not None:
            drawn[str(value.name)] = random_map(value, kind, generator)
            continue
        is_sequence = isinstance(value.type, ir.SequenceType)
        count = _SEQUENCE_ELEMENTS if is_sequence else 1
        arrays = []
        for _ in range(count):
            shape = _concrete(value, shapes, chosen, batch)
            if masked and len(shape) > 1 and "mask" in str(value.name).lower():
                arrays.append(_random_mask(shape, generator).astype(_numpy_type(value)))
            else:
                array = _random_array(value, shape, chosen, spread, generator)
                # Of a scalar, NumPy's arithmetic makes a number, which ONNX Runtime does not take.
                arrays.append(np.asarray(array))
        drawn[str(value.name)] = arrays if is_sequence else arrays[0]
    return drawn


def _symbol_sizes(
    model: ir.Model, shapes: Mapping[str, Sequence[int]], batch: int
) -> dict[str, int]:
    """Binds each symbol: first from the given shapes, then by the place where it stands."""
    sizes: dict[str, int] = {}
    for value in real_inputs(model):
        given = shapes.get(str(value.name))
        if given is None:
            continue
        _require_rank(value)
        dims = () if value.shape is None else dimensions(value)
        if len(dims) != len(given):
            raise InputError(
                f"input '{value.name}' has {len(dims)} dimensions, the given shape {list(given)} "
                f"has {len(given)}"
            )
        for dim, size in zip(dims, given, strict=True):
            if isinstance(dim, str) and sizes.setdefault(dim, size) != size:
                raise InputError(
                    f"dimension '{dim}' of input '{value.name}' is given as {size} and, elsewhere, "
                    f"as {sizes[dim]}"
                )
    open_sizes = OpenSizes.of(model)
    first = {**open_sizes.first, **dict.fromkeys(open_sizes.batches, batch)}
    return {**first, **sizes}


def _require_rank(value: ir.Value) -> None:
    if value.shape is None and isinstance(value.type, ir.TensorType):
        raise ModelError(
            f"input '{value.name}' has no rank; give the model a shape for it (--shape)"
        )


def _concrete(
    value: ir.Value, shapes: Mapping[str, Sequence[int]], sizes: Sizes, batch: int
) -> tuple[int, ...]:
    _require_rank(value)
    if value.shape is None:
        return _UNKNOWN_ELEMENT
    given = shapes.get(str(value.name))
    shape: list[int] = []
    for axis, dim in enumerate(dimensions(value)):
        if isinstance(dim, int):
            if given is not None and given[axis] != dim:
                raise InputError(
                    f"input '{value.name}' has size {dim} in dimension {axis}, not {given[axis]}"
                )
            shape.append(dim)
        elif given is not None:
            shape.append(given[axis])
        else:
            shape.append(default_size(value, axis, batch) if dim is None else size_of(dim, sizes))
    return tuple(shape)


def _random_array(
    value: ir.Value,
    shape: tuple[int, ...],
    sizes: Sizes,
    spread: Spread,
    generator: np.random.Generator,
) -> Array:
    kind, dtype = _numpy_type(value), value.dtype
    assert dtype is not None
    if dtype == ir.DataType.STRING:
        return random_strings(value, shape, generator)
    name = str(value.name).lower()
    if "mask" in name:
        return np.ones(shape, kind)
    demanded = operand_values(value, shape, sizes, generator)
    if demanded is not None:
        return demanded
    if dtype == ir.DataType.BOOL:
        return np.asarray(generator.random(shape) < 0.5)
    if dtype.is_floating_point():
        return spread.draw(generator, shape).astype(kind)
    if not dtype.is_integer():
        imaginary = 1j * spread.draw(generator, shape)
        return np.asarray(spread.draw(generator, shape) + imaginary).astype(kind)
    if any(part in name for part in _LENGTH_NAMES):
        return _random_lengths(sizes, shape, generator).astype(kind)
    if dtype.bitwidth <= 8:
        limits = ml_dtypes.iinfo(kind)  # type: ignore[no-untyped-call]
        return np.asarray(generator.integers(limits.min, limits.max + 1, shape)).astype(kind)
    return np.asarray(generator.integers(0, 2, shape)).astype(kind)


def _numpy_type(value: ir.Value) -> np.dtype[Any]:
    if value.dtype is None or value.dtype == ir.DataType.UNDEFINED:
        raise ModelError(
            f"input '{value.name}' has no element type, so that no random values can be made; "
            "give real inputs"
        )
    kind: np.dtype[Any] = value.dtype.numpy()
    return kind


def _random_mask(shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """Ones up to a length of at least one, then zeros, along the last axis."""
    lengths = generator.integers(1, max(shape[-1], 1) + 1, shape[:-1])
    return np.asarray(np.arange(shape[-1]) < lengths[..., np.newaxis])


def _random_lengths(sizes: Sizes, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """Lengths within the shortest open dimension that is no batch; the first is the whole of it."""
    longest = min((size for size in sizes.values() if size > BATCH), default=1)
    lengths = generator.integers(max(longest // 2, 1), longest + 1, shape)
    return np.asarray(np.where(np.arange(lengths.size).reshape(shape) == 0, longest, lengths))
