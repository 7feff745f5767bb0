"""Runs passes one by one: times each, records what it changed, and checks that it may."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx_ir as ir

from ingot.errors import IngotError
from ingot.passes.base import Declined, PassOutcome, pass_name
from ingot.passes.checking import call_pass, check_pass
from ingot.passes.difference import GraphState, compare_graphs
from ingot.passes.invariants import Interface, check_graph, check_operators
from ingot.passes.record import DeclinedRecord, PassCheck, PassRecord
from ingot.passes.storage import save
from ingot.progress import Progress, no_progress


@dataclasses.dataclass(frozen=True)
class PipelineRun:
    """What came out of the passes.

    Attributes:
        model: The model.
        records: One record for each pass.
        notes: What a user should know of them, a line each.
    """

    model: ir.Model
    records: list[PassRecord]
    notes: tuple[str, ...] = ()


class PassManager:
    """Runs a sequence of passes over a model.

    After each pass that changed the graph: values are defined before they are used, initializers
    have data, names are unique, operators fit their schemas, and the model's inputs and outputs
    keep their names, dtypes and shapes. With a ``check``, the outputs on reference inputs agree
    with those before the pass under the tolerance that the pass declares; a rewrite that only
    rounds otherwise, which the graph behind it magnifies, is taken back.

    Args:
        passes: Any ``onnx_ir`` passes, in place or functional; Ingot's own tell more.
        check: Compares the outputs before and after each pass that changed something.
        dump_dir: Where to write ``00-input.onnx`` and, after each pass and before its check,
            ``NN-pass-name.onnx``; made when it is missing.
        progress: Told of each pass as it begins.
    """

    def __init__(
        self,
        passes: Sequence[ir.passes.PassBase],
        *,
        check: PassCheck | None = None,
        dump_dir: Path | None = None,
        progress: Progress = no_progress,
    ) -> None:
        self._passes = tuple(passes)
        self._check = check
        self._dump_dir = dump_dir
        self._progress = progress

    def run(self, model: ir.Model) -> PipelineRun:
        """Runs all passes.

        Args:
            model: Changed in place by passes that work so; use the returned one.

        Raises:
            IngotError: A pass raised, or left a graph that is not valid; names the pass.
            PassCheckError: A pass changed the outputs too much; names the pass and the tensor.
        """
        interface = Interface.of(model)
        records: list[PassRecord] = []
        notes: list[str] = []
        state = GraphState.capture(model)
        snapshot = model.clone() if self._check is not None else None
        self._dump(model, 0, "input")
        for index, pass_ in enumerate(self._passes, start=1):
            name = pass_name(pass_)
            self._progress(f"pass {name}", 0, 0)
            started = time.perf_counter()
            result = call_pass(pass_, model)
            seconds = time.perf_counter() - started
            model = result.model
            before, state = state, GraphState.capture(model)
            record = _record(name, seconds, result, before, state)
            self._dump(model, index, name)
            if record.changed or result.modified:
                _check_valid(model, interface, name)
                if self._check is not None and snapshot is not None:
                    started = time.perf_counter()
                    kept = check_pass(pass_, snapshot, model, result, self._check)
                    if kept.result is not result:
                        model, state = kept.result.model, GraphState.capture(kept.result.model)
                        _check_valid(model, interface, name)
                        record = _record(name, seconds, kept.result, before, state)
                    record.check = kept.check
                    record.declined += map(_declined_record, kept.left_out)
                    notes += [f"{name}, '{one.node}': {one.reason}" for one in kept.left_out]
                    record.check_seconds = time.perf_counter() - started
                    snapshot = kept.snapshot
            records.append(record)
        return PipelineRun(model, records, tuple(notes))

    def _dump(self, model: ir.Model, index: int, name: str) -> None:
        if self._dump_dir is None:
            return
        path = self._dump_dir / f"{index:02d}-{name}.onnx"
        try:
            self._dump_dir.mkdir(parents=True, exist_ok=True)
            save(model, path)
        except OSError as error:
            raise IngotError(f"cannot write '{path}': {error.strerror or error}") from error


def _check_valid(model: ir.Model, interface: Interface, name: str) -> None:
    try:
        interface.check_kept(model)
        check_graph(model)
        check_operators(model)
    except IngotError as error:
        raise type(error)(f"pass '{name}' left an invalid graph: {error}") from error


def _record(
    name: str,
    seconds: float,
    result: ir.passes.PassResult,
    before: GraphState,
    after: GraphState,
) -> PassRecord:
    difference = compare_graphs(before, after)
    declined: list[DeclinedRecord] = []
    applied = int(bool(difference))
    facts: dict[str, Any] = {}
    if isinstance(result, PassOutcome):
        applied = result.applied
        facts = dict(result.facts)
        declined = [_declined_record(declined) for declined in result.declined]
    return PassRecord(
        name=name,
        seconds=seconds,
        applied=applied,
        changed=bool(difference),
        nodes_before=len(before.nodes),
        nodes_after=len(after.nodes),
        removed=difference.removed,
        added=difference.added,
        changed_nodes=difference.changed,
        op_delta=difference.op_delta,
        initializer_bytes_before=before.initializer_bytes,
        initializer_bytes_after=after.initializer_bytes,
        declined=declined,
        facts=facts,
    )


def _declined_record(declined: Declined) -> DeclinedRecord:
    return DeclinedRecord(node=declined.node, reason=declined.reason)
