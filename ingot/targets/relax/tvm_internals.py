"""The one place that touches names which TVM keeps to itself: a new version of TVM is met here."""

from __future__ import annotations

import re
from typing import Any

import tvm
from tvm.relax import block_builder
from tvm.relax.frontend.onnx import onnx_frontend

from ingot.errors import first_line
from ingot.targets.relax.argument_order import in_order_of_shapes

ONNXGraphImporter = onnx_frontend.ONNXGraphImporter
# A list of a node's inputs, in which those beyond the last are None.
Inputs = onnx_frontend.onnx_input


def tvm_converter(operator: str) -> Any:
    """Returns TVM's converter class of an ONNX operator, looked up by its type; None without."""
    return onnx_frontend._get_convert_map().get(operator)


def convert_by_tvm(
    operator: str, since: int, builder: Any, inputs: list[Any], attributes: dict[str, Any]
) -> Any:
    """Converts a node by TVM's own converter.

    Args:
        operator: The ONNX operator.
        since: The version of the operator that the converter implements.
        builder: The block builder to emit to.
        inputs: The node's inputs.
        attributes: The node's attributes.
    """
    implementation = getattr(getattr(onnx_frontend, operator), f"_impl_v{since}")
    given = onnx_frontend.onnx_input(inputs)  # has None for what is left out at the end
    return implementation(builder, given, attributes, None)


# What tells that a message speaks of TVM's own parts, which say nothing to a user.
_INTERNAL = re.compile(
    r"(\b(relax|tirx|tir|ir|vm|ffi|T|R|I)\.\w)|Check failed|InternalError|\bspan=|0x[0-9a-f]{4}"
    r"|CodeGen|\bTVM|<class |\bvdtype|Expr\b|PrimFunc|buffer_map",
    re.IGNORECASE,
)
_LONGEST_REASON = 200


def plain_reason(error: BaseException) -> str:
    """Why TVM does not take a node, in words of the model; its own text stays in the cause."""
    said = first_line(error)
    if _INTERNAL.search(said) or len(said) > _LONGEST_REASON or isinstance(error, AssertionError):
        return "there is no lowering for it in this form"
    return said


def end_open_block(importer: Any) -> None:
    """Ends the block that an importer has open: a builder dropped with one open complains."""
    importer.bb._end_block()


def register_operator(name: str, description: str) -> None:
    """Registers a Relax operator."""
    tvm.ir.op._ffi_api.RegisterOp(name, description)


_prim_func_of = block_builder.gen_call_tir_inputs


def _ordered_prim_func(*arguments: Any, **keywords: Any) -> Any:
    function, operands, kind = _prim_func_of(*arguments, **keywords)
    return *in_order_of_shapes(function, operands), kind


# Before a builder shares equal prim funcs: whether they are equal depends on the order.
block_builder.gen_call_tir_inputs = _ordered_prim_func
