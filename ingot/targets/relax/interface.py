"""What compiled code says of itself: the tensors that it takes and gives, and its weights.

A manifest can be damaged or belong to other code. So the code holds what it was compiled for, and
the runtime compares the two before anything runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir
import tvm
from tvm import relax, tirx

from ingot.runtime.interface import INTERFACE_FUNCTION

# What the names of the graph's inputs and outputs are kept as, until the code is generated.
_NAMES_ATTRIBUTE = "ingot.interface"


def with_names(module: tvm.IRModule, graph: ir.Graph) -> tvm.IRModule:
    """Returns a module that knows by which names its graph calls what ``main`` takes and gives."""
    names = {
        "inputs": [value.name for value in graph.inputs],
        "outputs": [value.name for value in graph.outputs],
    }
    module["main"] = module["main"].with_attr(_NAMES_ATTRIBUTE, json.dumps(names))
    return module


def with_interface(module: tvm.IRModule, weights: Sequence[str]) -> tvm.IRModule:
    """Returns the module with a function that returns its interface as JSON.

    Args:
        module: A module whose ``main`` takes the graph's inputs, then the weights.
        weights: Names of the weights, in order.
    """
    main = module["main"]
    names = json.loads(str(main.attrs[_NAMES_ATTRIBUTE]))
    result = main.ret_ty
    returned = list(result.fields) if isinstance(result, relax.TupleType) else [result]
    taken = [parameter.ty for parameter in main.params]
    count = len(taken) - len(weights)
    interface = {
        "inputs": _described(names["inputs"], taken[:count]),
        "outputs": _described(names["outputs"], returned),
        "weights": _described(weights, taken[count:]),
    }
    text = json.dumps(interface, separators=(",", ":"))
    builder = relax.BlockBuilder()
    with builder.function(INTERFACE_FUNCTION, []):
        builder.emit_func_output(tvm.ir.StringImm(text))
    module = tvm.IRModule(module.functions, attrs=module.attrs)
    module[INTERFACE_FUNCTION] = builder.get()[INTERFACE_FUNCTION]
    return module


def _described(names: Sequence[str], kinds: Sequence[Any]) -> list[Mapping[str, object]]:
    return [
        {"name": name, "dtype": str(kind.dtype), "shape": _sizes(kind)}
        for name, kind in zip(names, kinds, strict=True)
    ]


def _sizes(kind: relax.TensorType) -> list[int | None]:
    """A tensor's sizes; None where one is open."""
    if not isinstance(kind.shape, relax.ShapeExpr):
        return [None] * int(kind.ndim)
    return [int(size) if isinstance(size, tirx.IntImm) else None for size in kind.shape.values]
