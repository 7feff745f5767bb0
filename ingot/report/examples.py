"""What variants run on: data, or seeded random inputs where there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx_ir as ir

from ingot.compiler.data import open_model_data
from ingot.compiler.ingest import Ingested
from ingot.compiler.inputs import random_inputs
from ingot.data import Dataset, Example
from ingot.data.preprocessing import Preprocessing
from ingot.errors import UsageError
from ingot.report.workers.protocol import Array

_RANDOM_EXAMPLES = 8


class Examples:
    """The examples that all variants see.

    Attributes:
        description: What they are.
        timed: The inputs that every timed inference runs on.
    """

    def __init__(
        self,
        data: Dataset | None,
        source: Ingested,
        shapes: Mapping[str, Sequence[int]] | None,
    ) -> None:
        """Takes the data, or None for random inputs of the model's shapes bound by ``shapes``."""
        self._data = data
        self._source = source
        self._shapes: Mapping[str, Sequence[int]] = {}
        if data is None:
            self._shapes = closed_shapes(source.original, shapes or {})
            self.description = f"{_RANDOM_EXAMPLES} random inputs"
            self.timed = self._random(0)
        else:
            self.description = data.description
            self.timed = data[0].inputs[0]

    def __len__(self) -> int:
        """The number of examples."""
        return _RANDOM_EXAMPLES if self._data is None else len(self._data)

    def __iter__(self) -> Iterator[Example]:
        """Decodes or draws them one by one."""
        if self._data is not None:
            yield from self._data
            return
        for seed in range(_RANDOM_EXAMPLES):
            yield Example(f"random input {seed}", (self._random(seed),))

    @property
    def batch(self) -> int:
        """Examples per inference: the first dimension that all inputs share, else 1."""
        sizes = {array.shape[0] if array.ndim else 1 for array in self.timed.values()}
        return sizes.pop() if len(sizes) == 1 else 1

    def _random(self, seed: int) -> dict[str, Array]:
        return random_inputs(self._source.original, self._shapes, seed)


def open_data(
    dataset: Dataset | str | Path | None,
    source: Ingested,
    path: Path,
    preprocessing: Preprocessing | None,
    limit: int | None,
) -> Dataset | None:
    """Opens data for a model, by the preprocessing that the model carries if none is given.

    Raises:
        DataError: The data is missing, damaged or does not fit; see ``open_dataset``.
    """
    if dataset is None:
        return None
    return open_model_data(
        dataset, source.original, path.parent, preprocessing=preprocessing, limit=limit
    )


def closed_shapes(
    model: ir.Model, given: Mapping[str, Sequence[int]]
) -> dict[str, tuple[int, ...]]:
    """Shapes for random inputs: an open batch axis is 1, any other has to be given.

    Raises:
        UsageError: An input has an open dimension that is not its first.
    """
    closed = {}
    for value in model.graph.inputs:
        if value.is_initializer() or value.shape is None:
            continue
        name = str(value.name)
        sizes = [
            1 if axis == 0 and not isinstance(size, int) else size
            for axis, size in enumerate(value.shape)
        ]
        known = tuple(given.get(name, [size for size in sizes if isinstance(size, int)]))
        if len(known) != len(sizes):
            example = "x".join(str(size) if isinstance(size, int) else "…" for size in sizes)
            raise UsageError(
                f"input {name} has open dimensions, [{', '.join(map(str, value.shape))}]: give "
                f"its shape with --shape {name}={example}, or data with --data"
            )
        closed[name] = known
    return closed
