"""Open dimensions of a model's inputs: each gets a symbol, and shapes that are given bind them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import onnx_ir as ir

from ingot.errors import UsageError

# What converters write for "unknown" where a name belongs: two of them are not one size.
_NO_NAMES = frozenset({"", "?", "*", "-1", "0", "None", "none", "unknown", "Unknown", "null"})


def name_open_dimensions(model: ir.Model) -> None:
    """Gives each dimension of an input that has no size and no name a symbol, in place.

    No size is also a negative one, as some converters write; no name is also a placeholder such
    as ``?``, which stands for a size of its own wherever it is written. Elsewhere in the model
    such dimensions become unknown, for shape inference to find.
    """
    for value in _values(model):
        if value.shape is not None and not value.is_initializer():
            value.shape = ir.Shape([_known(dimension) for dimension in value.shape])
    taken = {
        dimension.value
        for value in _values(model)
        for dimension in value.shape or ()
        if isinstance(dimension, ir.SymbolicDim)
    }
    for value in real_inputs(model):
        if value.shape is None:
            continue
        named: list[int | str] = []
        for axis, dimension in enumerate(value.shape):
            known = dimension if isinstance(dimension, int) else dimension.value
            named.append(_symbol(f"{value.name}_{axis}", taken) if known is None else known)
        value.shape = ir.Shape(named)


def bind_shapes(model: ir.Model, shapes: Mapping[str, Sequence[int]]) -> None:
    """Binds the dimensions of inputs, in place; a symbol is bound wherever an input has it.

    Raises:
        UsageError: No input has that name, or the rank or a fixed dimension differs.
    """
    inputs = {value.name: value for value in real_inputs(model)}
    symbols: dict[str, int] = {}
    for name, shape in shapes.items():
        if name not in inputs:
            raise UsageError(
                f"--shape {name}: the model has no such input; its inputs are "
                f"{', '.join(str(key) for key in inputs)}"
            )
        if any(size < 1 for size in shape):
            raise UsageError(f"--shape {name}: dimensions must be positive, not {list(shape)}")
        known = inputs[name].shape
        if known is not None:
            _match(name, known, shape, symbols)
        inputs[name].shape = ir.Shape(shape)
    if not shapes:
        return
    for value in [*inputs.values(), *model.graph.outputs]:
        if value.shape is not None:
            value.shape = ir.Shape([_bound(dimension, symbols) for dimension in value.shape])
    for node in model.graph.all_nodes():
        for value in node.outputs:
            if not value.is_graph_output():
                value.shape = None


def batch_shapes(model: ir.Model, batch: int | None) -> dict[str, tuple[int, ...]]:
    """The shapes of inputs whose first dimension alone is open, with ``batch`` for it."""
    bound = {}
    for value in real_inputs(model):
        shape = [] if value.shape is None else list(value.shape)
        fixed = [size for size in shape[1:] if isinstance(size, int)]
        symbolic = bool(shape) and not isinstance(shape[0], int)
        if batch is not None and symbolic and len(fixed) == len(shape) - 1:
            bound[str(value.name)] = (batch, *fixed)
    return bound


def real_inputs(model: ir.Model) -> list[ir.Value]:
    """The inputs that a caller gives: those that no initializer stands in for."""
    return [value for value in model.graph.inputs if not value.is_initializer()]


def _values(model: ir.Model) -> Iterator[ir.Value]:
    """Inputs and values of all graphs, subgraphs included; functions know no shapes."""
    for graph in model.graphs():
        yield from graph.inputs
        for node in graph:
            yield from node.outputs


def _known(dimension: int | ir.SymbolicDim) -> int | str | None:
    if isinstance(dimension, int):
        return dimension if dimension >= 0 else None
    name = dimension.value
    return None if name is None or name.strip() in _NO_NAMES else name


def _symbol(wanted: str, taken: set[str | None]) -> str:
    name = wanted
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _bound(dimension: int | ir.SymbolicDim, symbols: Mapping[str, int]) -> int | str | None:
    if isinstance(dimension, int):
        return dimension
    symbol = dimension.value
    return symbols.get(symbol, symbol) if isinstance(symbol, str) else None


def _match(
    name: str | None, known: ir.Shape, shape: Sequence[int], symbols: dict[str, int]
) -> None:
    if len(known) != len(shape):
        raise UsageError(f"--shape {name}: the input has {len(known)} dimensions: {known}")
    for dimension, size in zip(known, shape, strict=True):
        symbol = dimension if isinstance(dimension, int) else dimension.value
        expected = symbols.setdefault(symbol, size) if isinstance(symbol, str) else symbol
        if expected is not None and expected != size:
            raise UsageError(
                f"--shape {name}: dimension {symbol} is {expected}, not {size}; "
                f"the input is {known}"
            )
