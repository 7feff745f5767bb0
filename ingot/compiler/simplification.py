"""Changes to the whole graph by the format's own tools, each dropped when it does not hold.

A tool that fails, or whose result computes something else, is reported in a note and its result
dropped: the model as it was goes on.
"""

from __future__ import annotations

import contextlib
import io
import logging

import onnx_ir as ir
import onnxsim
from onnx_ir.passes.common import NameFixPass
from onnxscript import version_converter

from ingot.compiler.functions import Knows, expand_operators, inline_functions
from ingot.compiler.verification import ReferenceCheck
from ingot.errors import IngotError, VerificationError, first_line
from ingot.onnx_graph.protos import has_maps, read_proto, write_proto
from ingot.onnx_graph.room import large_constant
from ingot.passes.base import FLOAT_ROUNDING
from ingot.passes.storage import fits_inline

# The opset in which Gelu, LayerNormalization, RMSNormalization and Attention all exist.
TARGET_OPSET = 23

# onnxscript tells of each fallback; without a handler Python prints that to standard error.
logging.getLogger("onnxscript").addHandler(logging.NullHandler())


def simplify(model: ir.Model, check: ReferenceCheck) -> tuple[ir.Model, list[str]]:
    """Returns the model as onnxsim simplifies it, or as it was with a note that says why.

    The check's outputs of the model are kept, so that the next comparison begins with them.

    Folding of constants and shapes is onnxsim's part; fusions are left to Ingot's passes, which
    are checked and recorded one by one.
    """
    if not fits_inline(model):
        return model, ["onnxsim was left out: the model is above protobuf's 2 GB"]
    large = large_constant(model)
    if large is not None:
        return model, [
            f"onnxsim was left out: it would make a constant of {large.name!r}, of shape "
            f"{large.shape}"
        ]
    proto = write_proto(model)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            simplified, _ = onnxsim.simplify(proto, perform_optimization=False)
        candidate = read_proto(simplified)
    except Exception as error:  # noqa: BLE001
        # Whatever a third-party simplifier raises, its result is not needed.
        return model, [f"onnxsim failed and its result was dropped: {first_line(error)}"]
    return _keep_if_equal(model, candidate, check, "onnxsim")


def raise_opset(model: ir.Model, check: ReferenceCheck) -> tuple[ir.Model, list[str]]:
    """Returns the model in the opset that the fusions' operators need, or as it was with a note."""
    version = model.opset_imports.get("", TARGET_OPSET)
    if version >= TARGET_OPSET:
        return model, []
    if has_maps(model):
        return model, [f"the opset stays at {version}: the model holds maps"]
    candidate = model.clone()
    try:
        version_converter.convert_version(candidate, TARGET_OPSET, fallback=True)
    except Exception as error:  # noqa: BLE001
        # onnx's converter raises RuntimeError from C++, onnxscript's errors of its own.
        return model, [f"the opset stays at {version}: {first_line(error)}"]
    reached = candidate.opset_imports.get("", 0)
    if reached != TARGET_OPSET:
        return model, [f"the opset stays at {version}: onnx has no conversion for this model"]
    return _keep_if_equal(
        model, candidate, check, f"the conversion of opset {version} to {reached}"
    )


def expand_functions(
    model: ir.Model, knows: Knows | None, check: ReferenceCheck | None
) -> tuple[ir.Model, list[str]]:
    """Returns the model without functions, and without operators that a target lacks.

    Args:
        model: The model.
        knows: What the target lowers; None for everything.
        check: Compares the outcome; None where nothing can be compared.
    """
    candidate = model.clone()
    try:
        inline_functions(candidate)
        expanded = 0 if knows is None else expand_operators(candidate, knows)
    except Exception as error:  # noqa: BLE001
        # The inliners of onnx and onnx_ir raise errors of many types.
        return model, [f"functions were left as they are: {first_line(error)}"]
    if not (model.functions or expanded):
        return model, []
    if check is None:
        return candidate, []
    return _keep_if_equal(model, candidate, check, "the expansion of functions")


def _keep_if_equal(
    before: ir.Model, after: ir.Model, check: ReferenceCheck, what: str
) -> tuple[ir.Model, list[str]]:
    NameFixPass()(after)
    inputs = {value.name for value in before.graph.inputs if not value.is_initializer()}
    if inputs != {value.name for value in after.graph.inputs if not value.is_initializer()}:
        return before, [f"{what} changed the model's inputs and its result was dropped"]
    try:
        check.compare(before, after, FLOAT_ROUNDING, pass_name=what)
    except VerificationError as error:
        return before, [f"{what} changed the results and its result was dropped: {error}"]
    except IngotError as error:
        return before, [f"{what} could not be checked and its result was dropped: {error}"]
    return after, []
