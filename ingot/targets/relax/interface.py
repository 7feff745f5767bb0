"""What compiled code says of itself: the tensors that it takes and gives, and its weights.

A manifest can be damaged or belong to other code. So the code holds what it was compiled for, and
the runtime compares the two before anything runs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import onnx_ir as ir
import tvm
from tvm import relax, tirx

from ingot.runtime.interface import Interface, Tensor

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


def interface_of(main: relax.Function, weights: Sequence[str]) -> Interface:
    """Returns what code of a function is compiled for.

    Args:
        main: It takes the graph's inputs, then the weights.
        weights: Names of the weights, in order.
    """
    names = json.loads(str(main.attrs[_NAMES_ATTRIBUTE]))
    result = main.ret_ty
    returned = list(result.fields) if isinstance(result, relax.TupleType) else [result]
    taken = [parameter.ty for parameter in main.params]
    count = len(taken) - len(weights)
    return Interface(
        inputs=_described(names["inputs"], taken[:count]),
        outputs=_described(names["outputs"], returned),
        weights=_described(weights, taken[count:]),
    )


def _described(names: Sequence[str], kinds: Sequence[Any]) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(name, str(kind.dtype), _sizes(kind)) for name, kind in zip(names, kinds, strict=True)
    )


def _sizes(kind: relax.TensorType) -> tuple[int | None, ...]:
    """A tensor's sizes; None where one is open."""
    if not isinstance(kind.shape, relax.ShapeExpr):
        return (None,) * int(kind.ndim)
    return tuple(int(size) if isinstance(size, tirx.IntImm) else None for size in kind.shape.values)
