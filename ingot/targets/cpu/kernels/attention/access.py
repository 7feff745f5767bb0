"""Reading an attention's operands, and writing its result, by row, key and feature.

The rows of a head of keys are the queries of all the heads that share it, one head's after the
other's: row ``r`` is query ``r % queries`` of the head's ``r // queries``-th head of queries.
"""

from __future__ import annotations

from tvm import tirx

from ingot.targets.cpu.bfloat16 import round_to_bfloat16
from ingot.targets.cpu.kernels.attention.problem import Attention, Operand
from ingot.targets.cpu.kernels.writing.dimension import Dim
from ingot.targets.cpu.kernels.writing.emission import (
    Emitter,
    as_float,
    index,
    load,
    vector_at,
)


class Access:
    """The buffers of a kernel, and where in them the open task's elements are."""

    batch: tirx.Var
    head: tirx.Var

    def __init__(self, problem: Attention, emitter: Emitter) -> None:
        """Declares the buffers.

        Args:
            problem: What the kernel is made for.
            emitter: Where the statements go.
        """
        self.problem, self.emitter = problem, emitter
        self.query = _buffer(problem.query, "query")
        self.key = _buffer(problem.key, "key")
        self.value = _buffer(problem.value, "value")
        self.result = _buffer(problem.result, "result")
        self.mask = problem.mask and tirx.decl_buffer(problem.mask.shape, "float32", "mask")

    @property
    def parameters(self) -> list[tirx.Buffer]:
        """The buffers in the order of the kernel's parameters."""
        buffers = [self.query, self.key, self.value, self.mask, self.result]
        return [buffer for buffer in buffers if buffer is not None]

    def select(self, head: tirx.Expr) -> None:
        """Makes a head of keys, counted through the batch, the one whose elements are meant."""
        heads = index(self.problem.heads)
        self.batch = self.emitter.bind("batch", head // heads)
        self.head = self.emitter.bind("head", head % heads)

    def query_of(self, row: Dim) -> Dim:
        """Returns which query of its head a row is."""
        return row if self.problem.group == 1 else index(row) % index(self.problem.queries)

    def read_query(self, row: Dim, feature: Dim, lanes: int) -> tirx.Expr:
        """Reads neighbouring features of a row's query."""
        problem = self.problem
        indices = self._indices(problem.query, row, feature, problem.features)
        return _load(self.query, indices, lanes)

    def read_key(self, key: Dim, feature: Dim, lanes: int = 1) -> tirx.Expr:
        """Reads a key's feature, or neighbouring ones."""
        problem = self.problem
        indices = self._shared(problem.key, key, feature, problem.features)
        return _load(self.key, indices, lanes)

    def read_value(self, key: Dim, feature: Dim, lanes: int) -> tirx.Expr:
        """Reads neighbouring features of a key's value."""
        problem = self.problem
        indices = self._shared(problem.value, key, feature, problem.value_features)
        return _load(self.value, indices, lanes)

    def read_mask(self, row: Dim, key: Dim, lanes: int) -> tirx.Expr:
        """Reads a row's mask for neighbouring keys."""
        assert self.mask is not None and self.problem.mask is not None
        group = self.problem.group
        member: Dim = 0 if group == 1 else index(row) // index(self.problem.queries)
        at: dict[str, Dim] = {
            "b": self.batch,
            "k": self.head,
            "g": member,
            "h": self.head if group == 1 else self.head * group + member,
            "q": self.query_of(row),
            "t": key,
        }
        return _load(self.mask, self.problem.mask.indices(at), lanes)

    def store_result(self, value: tirx.Expr, row: Dim, feature: Dim, lanes: int) -> None:
        """Stores neighbouring features of a row's result, float32."""
        problem = self.problem
        *outer, last = self._indices(problem.result, row, feature, problem.value_features)
        indices = [*outer, vector_at(last, lanes)]
        if problem.result.dtype == "bfloat16":
            value = round_to_bfloat16(value)
        self.emitter.store(self.result, value, indices)

    def _indices(self, operand: Operand, row: Dim, feature: Dim, features: int) -> list[Dim]:
        member: Dim = 0
        if self.problem.group > 1:
            member = index(row) // index(self.problem.queries)
        at: dict[str, Dim] = {
            "b": self.batch,
            "k": self.head,
            "g": member,
            "s": self.query_of(row),
            "d": feature,
        }
        return operand.indices(at, self._extents(self.problem.queries, features))

    def _shared(self, operand: Operand, key: Dim, feature: Dim, features: int) -> list[Dim]:
        at: dict[str, Dim] = {"b": self.batch, "k": self.head, "g": 0, "s": key, "d": feature}
        return operand.indices(at, self._extents(self.problem.keys, features))

    def _extents(self, positions: Dim, features: int) -> dict[str, Dim]:
        problem = self.problem
        return {
            "b": problem.batch,
            "k": problem.heads,
            "g": problem.group,
            "s": positions,
            "d": features,
        }


def _buffer(operand: Operand, name: str) -> tirx.Buffer:
    return tirx.decl_buffer(operand.shape, operand.dtype, name)


def _load(buffer: tirx.Buffer, indices: list[Dim], lanes: int) -> tirx.Expr:
    *outer, last = indices
    return as_float(load(buffer, *outer, vector_at(last, lanes)))
