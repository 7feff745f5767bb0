"""QOperator models in QDQ form, when they are read.

The form is dropped where ONNX Runtime computes otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir.passes.common import NameFixPass, ShapeInferencePass

from ingot.compiler.agreement import compare_with_quantized
from ingot.compiler.reference_samples import Sample
from ingot.compiler.simplification import raise_opset
from ingot.compiler.verification import ReferenceCheck
from ingot.errors import IngotError
from ingot.passes.base import PassOutcome
from ingot.passes.qoperators import SpellOut
from ingot.reference.session import Reference

# From it on a scale may be one per channel.
_LEAST_OPSET = 13


def spell_out_qoperators(model: ir.Model, samples: Sequence[Sample]) -> tuple[ir.Model, list[str]]:
    """Returns a model with its operators on integers in QDQ form, or as it was with a note.

    The two forms round values in the middle between two integers differently, so their outputs may
    be apart as far as two correct implementations of the graph; see ``compare_with_quantized``.

    Args:
        model: A model; it is not changed.
        samples: What they are compared on; nothing is compared where there are none.
    """
    if not any(_is_candidate(node) for node in model.graph.all_nodes()):
        return model, []
    candidate = model.clone()
    notes: list[str] = []
    if model.opset_imports.get("", _LEAST_OPSET) < _LEAST_OPSET and samples:
        candidate, notes = raise_opset(model, ReferenceCheck.on(model, samples))
        candidate = candidate.clone()
    NameFixPass()(candidate)
    outcome = SpellOut()(candidate)
    assert isinstance(outcome, PassOutcome)
    for place in outcome.declined:
        notes.append(f"node {place.node!r} is left as it is: {place.reason}")
    if not outcome.applied:
        return model, notes
    ShapeInferencePass()(candidate)
    try:
        if samples:
            inputs = [sample.inputs for sample in samples]
            compare_with_quantized(Reference(model), candidate, inputs)
    except IngotError as error:
        return model, [*notes, f"operators on integers are left as they are: {error}"]
    return candidate, notes


def _is_candidate(node: ir.Node) -> bool:
    return node.op_type in SpellOut.candidates and node.domain in SpellOut.domains
