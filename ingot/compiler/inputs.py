"""Random inputs that a model accepts: for reference runs where no real data is given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import ml_dtypes
import numpy as np
import onnx_ir as ir

from ingot.errors import InputError, ModelError
from ingot.reference.session import Array

# Sizes for dimensions that the model leaves open. Two for the batch, so that a result that mixes
# examples shows; 64 pixels, so that five halvings leave more than one.
BATCH = 2
PIXELS = 64
SEQUENCE = 16

# Operators that hand indices on as they are, on the way from an input to a Gather.
_TRANSPARENT = {"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose"}


def random_inputs(
    model: ir.Model,
    shapes: Mapping[str, Sequence[int]] | None = None,
    seed: int = 0,
    *,
    batch: int = BATCH,
) -> dict[str, Array]:
    """Makes one array for each input of a model.

    Floats are drawn from the standard normal distribution, masks (by name) are ones, booleans are
    fair coins, integers that index an embedding are drawn from its vocabulary, other signed
    integers from {0, 1}, and those of at most 8 bits from their whole range.

    Args:
        model: The model.
        shapes: Shapes by input name. An open dimension that no shape fixes gets ``batch`` if it is
            the first, 64 for pixels (an image's height and width), else 16; equal symbols get
            equal sizes.
        seed: Equal seeds give equal arrays.
        batch: Size of an open first dimension.

    Returns:
        Arrays by input name, of the inputs' dtypes.

    Raises:
        InputError: A given shape does not fit the input, or names no input.
        ModelError: The model does not say an input's rank or dtype, or it is no number.
    """
    shapes = shapes or {}
    values = [value for value in model.graph.inputs if not value.is_initializer()]
    names = [value.name for value in values]
    for name in shapes:
        if name not in names:
            raise InputError(
                f"no input is named '{name}'; the inputs are {', '.join(map(str, names))}"
            )
    sizes = _symbol_sizes(values, shapes, batch)
    generator = np.random.default_rng(seed)
    return {
        str(value.name): _random_array(value, _concrete(value, shapes, sizes, batch), generator)
        for value in values
    }


def _symbol_sizes(
    values: Sequence[ir.Value], shapes: Mapping[str, Sequence[int]], batch: int
) -> dict[str, int]:
    """Binds each symbol: first from the given shapes, then by the place where it stands."""
    sizes: dict[str, int] = {}
    for value in values:
        given = shapes.get(str(value.name))
        if given is None:
            continue
        dims = _dims(value)
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
    for value in values:
        for axis, dim in enumerate(_dims(value)):
            if isinstance(dim, str):
                sizes.setdefault(dim, _default_size(value, axis, batch))
    return sizes


def _concrete(
    value: ir.Value,
    shapes: Mapping[str, Sequence[int]],
    sizes: Mapping[str, int],
    batch: int,
) -> tuple[int, ...]:
    given = shapes.get(str(value.name))
    shape: list[int] = []
    for axis, dim in enumerate(_dims(value)):
        if isinstance(dim, int):
            if given is not None and given[axis] != dim:
                raise InputError(
                    f"input '{value.name}' has size {dim} in dimension {axis}, not {given[axis]}"
                )
            shape.append(dim)
        elif given is not None:
            shape.append(given[axis])
        else:
            shape.append(_default_size(value, axis, batch) if dim is None else sizes[dim])
    return tuple(shape)


def _dims(value: ir.Value) -> tuple[int | str | None, ...]:
    if value.shape is None:
        raise ModelError(
            f"input '{value.name}' has no rank; give the model a shape for it (--shape)"
        )
    return tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)


def _default_size(value: ir.Value, axis: int, batch: int) -> int:
    if axis == 0:
        return batch
    image = len(_dims(value)) == 4 and value.dtype is not None and value.dtype.is_floating_point()
    return PIXELS if image else SEQUENCE


def _random_array(value: ir.Value, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    dtype = value.dtype
    if dtype is None or dtype in (ir.DataType.STRING, ir.DataType.UNDEFINED):
        raise ModelError(
            f"input '{value.name}' has dtype {dtype}, for which no random values can be made; "
            "give real inputs"
        )
    mask = "mask" in str(value.name).lower()
    kind = dtype.numpy()
    if dtype == ir.DataType.BOOL:
        return np.ones(shape, bool) if mask else np.asarray(generator.random(shape) < 0.5)
    if dtype.is_floating_point():
        normal = np.asarray(generator.standard_normal(shape))
        return np.ones(shape, kind) if mask else normal.astype(kind)
    if not dtype.is_integer():
        raise ModelError(f"input '{value.name}' has dtype {dtype}; give real inputs")
    if mask:
        return np.ones(shape, kind)
    limit = index_limit(value)
    if limit is not None:
        return np.asarray(generator.integers(0, limit, shape)).astype(kind)
    if dtype.bitwidth <= 8:
        limits = ml_dtypes.iinfo(kind)  # type: ignore[no-untyped-call]
        return np.asarray(generator.integers(limits.min, limits.max + 1, shape)).astype(kind)
    return np.asarray(generator.integers(0, 2, shape)).astype(kind)


def index_limit(value: ir.Value) -> int | None:
    """Returns the number of entries that an input selects from, or None where it is no index.

    Indices from ``-limit`` to ``limit - 1`` are valid for ONNX's Gather; ``limit`` is the smallest
    of the axes that the input indexes.
    """
    return min(_vocabularies(value), default=None)


def _vocabularies(value: ir.Value) -> Iterator[int]:
    """Sizes of the axes that the value indexes by Gather, also through shape changes and casts."""
    for node, position in value.uses():
        if node.domain != "":
            continue
        if node.op_type in _TRANSPARENT and position == 0:
            yield from _vocabularies(node.outputs[0])
        elif node.op_type == "Gather" and position == 1:
            data = node.inputs[0]
            axis = node.attributes.get_int("axis", 0)
            if data is not None and data.shape is not None:
                size = data.shape[axis]
                if isinstance(size, int):
                    yield size
