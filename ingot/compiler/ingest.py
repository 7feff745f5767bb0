"""Ingest: from a file or a proto to a checked graph with shapes and unique names."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import NameFixPass

from ingot.compiler.data import DataLike, open_calibration
from ingot.compiler.functions import Knows
from ingot.compiler.messages import require_known_operators
from ingot.compiler.open_dimensions import batch_shapes, bind_shapes, name_open_dimensions
from ingot.compiler.qoperators import spell_out_qoperators
from ingot.compiler.reference_samples import (
    Inputs,
    ReferenceSamples,
    Sample,
    guarding_samples,
    reference_samples,
)
from ingot.compiler.simplification import expand_functions, raise_opset, simplify
from ingot.compiler.uncertain_ranks import forget_uncertain_ranks
from ingot.compiler.verification import ReferenceCheck
from ingot.data import Dataset
from ingot.errors import (
    IngotError,
    ModelError,
    VerificationError,
    first_line,
    own_errors,
    root_cause,
)
from ingot.onnx_graph.claims import check_claims
from ingot.onnx_graph.edits import name_nodes, unify_constants
from ingot.onnx_graph.external_data import (
    check_external_data,
    check_opened_data,
    settle_external_data,
)
from ingot.onnx_graph.operands import check_operands
from ingot.onnx_graph.protos import load_proto, read_proto, write_proto
from ingot.onnx_graph.room import require_room
from ingot.onnx_graph.shape_inference import infer_shapes
from ingot.onnx_graph.source_opset import note_source_opset
from ingot.passes.invariants import check_graph

_CHUNK = 1 << 20
# Of the user's own inputs; each is run several times.
_MOST_GIVEN = 16

# onnx_ir warns of what it works around; without a handler Python prints that to standard error.
logging.getLogger("onnx_ir").addHandler(logging.NullHandler())


@dataclasses.dataclass(frozen=True)
class Ingested:
    """A model as the passes take it.

    Attributes:
        name: The model's name: the file's, or the graph's.
        model: The graph: checked, shapes inferred, every node and value with a unique name.
        original: The graph as it was given, shapes bound: what results are compared with.
        sha256: Digest of the source, external data included.
        opset: Opset version of the source.
        notes: What was tried and dropped, and why.
        samples: What ONNX Runtime computes of the original, on seeded inputs and given ones; empty
            where nothing can be compared, and ``unverifiable`` says why.
        size: Bytes of the source, external data included.
        files: The model's file and those of its external data; none for a model in memory.
        unverifiable: Why nothing can be compared; empty where something can.
    """

    name: str
    model: ir.Model
    original: ir.Model
    sha256: str
    opset: int
    notes: tuple[str, ...]
    samples: tuple[Sample, ...] = ()
    unverifiable: str = ""
    size: int = 0
    files: tuple[Path, ...] = ()

    def require_samples(self) -> tuple[Sample, ...]:
        """Returns the samples.

        Raises:
            VerificationError: There are none; says why.
        """
        if self.unverifiable:
            raise VerificationError(f"{self.name} cannot be verified: {self.unverifiable}")
        return self.samples

    def first_check(self) -> ReferenceCheck | None:
        """The check that passes are held to, on the first sample; None where nothing can be."""
        if not self.samples:
            return None
        return ReferenceCheck([self.samples[0].inputs])


@own_errors()
def ingest(
    source: str | Path | onnx.ModelProto | ir.Model,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    batch: int | None = None,
    simplified: bool = True,
    seed: int = 0,
    verify_data: DataLike | None = None,
    knows: Knows | None = None,
) -> Ingested:
    """Reads, checks and prepares a model.

    Args:
        source: An ONNX file (weights of any size, external data beside it), or a model in memory.
        shapes: Shapes of inputs by name; bind symbolic dimensions throughout the graph.
        batch: What a symbolic first dimension of an input is bound to, unless ``shapes`` say.
        simplified: Whether onnxsim runs; its result is dropped if it fails or changes outputs.
        seed: Seed of the random reference inputs.
        verify_data: Real inputs to compare results on, before random ones: a path, a data set, or
            any iterable of mappings from input name to array.
        knows: Says whether the target lowers an operator, by domain and type; one that it does not
            is replaced by the body that ONNX defines for it, if there is one. By default all are
            left.

    Raises:
        DataError: The real inputs are missing, damaged or do not fit the model.
        ModelError: Not ONNX, damaged, cut short, or invalid; says where.
        UsageError: A shape names no input or does not fit.
    """
    loaded = _load(source)
    original = loaded.model
    if loaded.objection:
        _sort(original, loaded)
    unify_constants(original)
    name_nodes(original)
    note_source_opset(original)
    require_known_operators(original)
    NameFixPass()(original)
    name_open_dimensions(original)
    bind_shapes(original, {**batch_shapes(original, batch), **(shapes or {})})
    forget_uncertain_ranks(original)
    declared = [value.shape for value in original.graph.outputs]
    inferred = infer_shapes(original)
    check_operands(original, loaded.name)
    opset = original.opset_imports.get("", 0)
    model = original.clone()
    notes = _contradicted(original, declared)
    unverifiable = ""
    given, described = _real_inputs(verify_data, original, source)
    try:
        require_room(original)
        found = reference_samples(original, given=given, described=described, seed=seed)
    except (ModelError, VerificationError, MemoryError) as error:
        if loaded.objection:
            raise ModelError(
                f"{loaded.name} is not valid ONNX: {loaded.objection}; and it does not run: {error}"
            ) from error
        found = ReferenceSamples(())
        unverifiable = str(error) if isinstance(error, IngotError) else "there is no memory left"
        notes.append(f"nothing can be checked: {unverifiable}")
    notes += found.notes
    if loaded.objection:
        notes.append(f"ONNX Runtime runs what onnx's checker objects to: {loaded.objection}")
    guarding = guarding_samples(found.samples)
    check = ReferenceCheck.on(model, guarding) if guarding else None
    spelled_out, note = spell_out_qoperators(model, found.samples)
    notes += note
    if check is not None and spelled_out is not model:
        check = ReferenceCheck([sample.inputs for sample in guarding])
    model = spelled_out
    if check is not None:
        if simplified:
            model, note = simplify(model, check)
            notes += note
        model, note = raise_opset(model, check)
        notes += note
    model, note = expand_functions(model, knows, check)
    notes += note
    NameFixPass()(model)
    infer_shapes(model, trusted=inferred)
    return Ingested(
        loaded.name, model, original, loaded.sha256, opset, tuple(notes), found.samples,
        unverifiable, loaded.size, loaded.files,
    )  # fmt: skip


def _contradicted(model: ir.Model, declared: Sequence[ir.Shape | None]) -> list[str]:
    """Notes on outputs that are not of the shape that the model declares."""
    notes = []
    for value, shape in zip(model.graph.outputs, declared, strict=True):
        if shape is None or value.shape is None:
            continue
        sizes = zip(shape, value.shape, strict=False)
        differ = any(a != b for a, b in sizes if isinstance(a, int) and isinstance(b, int))
        if differ or len(shape) != len(value.shape):
            notes.append(
                f"output {value.name!r} is declared as {shape}, and computed as {value.shape}"
            )
    return notes


def _sort(model: ir.Model, loaded: _Loaded) -> None:
    """Brings nodes into the order of execution, in which ONNX wants them.

    Raises:
        ModelError: There is none, or the graph is not whole.
    """
    try:
        for graph in model.graphs():
            graph.sort()
        check_graph(model)
    except (ValueError, ModelError) as error:
        raise ModelError(f"{loaded.name} is not valid ONNX: {loaded.objection}") from error


def _real_inputs(
    data: DataLike | None, model: ir.Model, source: str | Path | onnx.ModelProto | ir.Model
) -> tuple[list[Inputs], str]:
    """The user's own inputs, fitted to the model, and what they are."""
    if data is None:
        return [], ""
    if not isinstance(data, (Dataset, str, Path)):
        return list(itertools.islice(data, _MOST_GIVEN)), "the data given to verify"
    folder = Path(source).parent if isinstance(source, (str, Path)) else Path()
    opened = open_calibration(data, model, folder, limit=_MOST_GIVEN)
    return list(opened.fitted(model)), opened.description


@dataclasses.dataclass(frozen=True)
class _Loaded:
    """A model as it was read, its digest and size, what onnx's checker says against it."""

    name: str
    model: ir.Model
    sha256: str
    objection: str
    size: int
    files: tuple[Path, ...] = ()


def _load(source: str | Path | onnx.ModelProto | ir.Model) -> _Loaded:
    if isinstance(source, ir.Model):
        return _load_ir(source)
    if isinstance(source, onnx.ModelProto):
        return _load_proto(source)
    path = Path(source)
    proto = load_proto(path)
    check_claims(proto, str(path))
    if not proto.graph.output:
        raise ModelError(f"{path} is not an ONNX model, or is damaged: its graph has no outputs")
    data = check_external_data(proto, path, str(path))
    settle_external_data(proto, path.parent)
    model = _read(proto, str(path))
    files = sorted({path, *data})
    digest = hashlib.sha256()
    _add_files(digest, str(path), files)
    # onnx takes no name of a file that is not UTF-8.
    objection = _objection(str(path) if _is_utf8(str(path)) else proto)
    size = sum(file.stat().st_size for file in files)
    name = os.fsencode(path.stem).decode(errors="replace")
    return _Loaded(name, model, digest.hexdigest(), objection, size, tuple(files))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _load_proto(proto: onnx.ModelProto) -> _Loaded:
    name = proto.graph.name or "model"
    check_claims(proto, name)
    data = check_external_data(proto, None, name)
    # Serialized as protobuf allows: a model above 2 GB has to come from a file.
    objection = _objection(proto)
    digest = hashlib.sha256(proto.SerializeToString(deterministic=True))
    _add_files(digest, name, data)
    size = proto.ByteSize() + sum(file.stat().st_size for file in data)
    if data:
        copy = onnx.ModelProto()
        copy.CopyFrom(proto)
        settle_external_data(copy, Path())
        proto = copy
    return _Loaded(name, _read(proto, name), digest.hexdigest(), objection, size, tuple(data))


def _load_ir(source: ir.Model) -> _Loaded:
    """Reads a model in memory; weights in files stay there, wherever these are."""
    name = source.graph.name or "model"
    check_opened_data(source, name)
    try:
        copy = source.clone()
        ir.external_data.load_to_model(copy)
        proto = write_proto(copy)
    except IngotError:
        raise
    except Exception as error:
        raise ModelError(
            f"{name} cannot be written as ONNX: {first_line(root_cause(error))}"
        ) from error
    return _load_proto(proto)


def _read(proto: onnx.ModelProto, name: str) -> ir.Model:
    try:
        return read_proto(proto)
    except IngotError:
        raise
    except Exception as error:
        # onnx_ir raises its own error, around whatever it met in the message.
        raise ModelError(
            f"{name} cannot be read as ONNX: {first_line(root_cause(error))}"
        ) from error


def _add_files(digest: hashlib._Hash, name: str, files: Sequence[Path]) -> None:
    """Adds what files hold to a digest."""
    for file in files:
        try:
            with file.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    digest.update(chunk)
        except OSError as error:
            raise ModelError(
                f"{name} keeps weights in {file}, which cannot be read: {error.strerror}"
            ) from error


def _objection(source: str | onnx.ModelProto) -> str:
    """What onnx's checker says against a file or a proto; empty where it says nothing.

    It is stricter than ONNX Runtime: it wants outputs to have a shape, and nodes to be sorted.
    """
    try:
        onnx.checker.check_model(source)
    except (onnx.checker.ValidationError, ValueError, RuntimeError, OSError) as error:
        return first_line(root_cause(error))
    return ""
