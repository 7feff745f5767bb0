"""Which requests fit into one batch, and how their arrays are joined and their results parted."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.errors import InputError
from ingot.runtime.binding import check_inputs
from ingot.runtime.manifest import TensorSpec

Array = npt.NDArray[Any]
Key = tuple[tuple[int, ...], ...]
"""The shapes of a request's inputs behind the batch axis: requests of equal keys can be joined."""


@dataclasses.dataclass(frozen=True)
class BatchAxis:
    """How a model takes batches.

    Attributes:
        rows: Rows of each batch, where the model was compiled for one number of them; None where
            it takes any.
    """

    rows: int | None


def batch_axis(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> BatchAxis | None:
    """Returns how a model takes batches; None where its requests cannot be joined.

    All inputs and outputs have to be tensors whose first axis is one and the same symbol, which is
    no other axis of theirs. Rows are independent then, as far as shapes tell. A model with a fixed
    first axis may mix its rows, or number something else by it: only one compiled for more than one
    row whose every tensor has it is batched.
    """
    specs = (*inputs, *outputs)
    if not inputs or not all(spec.is_numeric and spec.shape for spec in specs):
        return None
    first = specs[0].shape[0]
    if any(spec.shape[0] != first for spec in specs):
        return None
    if isinstance(first, int):
        return BatchAxis(first) if first > 1 else None
    if any(first in spec.shape[1:] for spec in specs):
        return None
    return BatchAxis(None)


class Joiner:
    """Checks requests of one model, joins them into batches and parts the results.

    Attributes:
        axis: How the model takes batches; None where each request runs alone.
    """

    def __init__(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        self.axis = batch_axis(inputs, outputs)
        self._inputs = tuple(inputs)
        self._given = tuple(self._free_rows(spec) for spec in inputs)

    def _free_rows(self, spec: TensorSpec) -> TensorSpec:
        if self.axis is None or self.axis.rows is None:
            return spec
        return dataclasses.replace(spec, shape=("rows of the request", *spec.shape[1:]))

    def check(self, inputs: Mapping[str, Array]) -> tuple[int, Key]:
        """Holds a request's arrays against what the model takes.

        Returns:
            How many rows it has, and what it can be joined with.

        Raises:
            InputError: A name, dtype or shape does not fit.
        """
        names = [spec.name for spec in self._inputs]
        if len(inputs) != len(names) or any(name not in inputs for name in names):
            unknown = [name for name in inputs if name not in names]
            missing = [name for name in names if name not in inputs]
            said = f"no input is called {unknown[0]}" if unknown else f"{missing[0]} is missing"
            raise InputError(f"{said}; the model's inputs are {', '.join(names)}")
        arrays = [inputs[name] for name in names]
        check_inputs(self._given, arrays)
        if self.axis is None:
            return 1, tuple(array.shape for array in arrays)
        rows = arrays[0].shape[0]
        if rows == 0:
            raise InputError("a request needs at least one row, and has none")
        if self.axis.rows is not None and rows > self.axis.rows:
            raise InputError(
                f"the model takes at most {self.axis.rows} rows at a time, "
                f"and the request has {rows}"
            )
        return rows, tuple(array.shape[1:] for array in arrays)

    def join(
        self, requests: Sequence[Mapping[str, Array]], rows: Sequence[int], padded: int | None
    ) -> dict[str, Array]:
        """Joins the arrays of requests of equal keys.

        Args:
            requests: Their inputs.
            rows: The rows of each.
            padded: Rows that the batch is to have, those behind the requests' being zeros; None
                for as many as they have.
        """
        total = sum(rows)
        padding = (padded or total) - total
        if len(requests) == 1 and not padding:
            return dict(requests[0])
        joined = {}
        for spec in self._inputs:
            pieces = [request[spec.name] for request in requests]
            if padding:
                pieces.append(np.zeros((padding, *pieces[0].shape[1:]), pieces[0].dtype))
            joined[spec.name] = np.concatenate(pieces)
        return joined

    def part(self, outputs: Mapping[str, Array], rows: Sequence[int]) -> list[dict[str, Array]]:
        """Returns each request's outputs: views of the batch's."""
        if len(rows) == 1 and self.axis is None:
            return [dict(outputs)]
        parted = []
        begin = 0
        for count in rows:
            parted.append({name: array[begin : begin + count] for name, array in outputs.items()})
            begin += count
        return parted
