"""Which part of a graph runs on the NPU: composites in place of the operators that they are.

A composite becomes one operator of the domain ``ingot.npu`` that reads and writes integers. Images
are NHWC among them; where one meets an operator of the CPU, a Transpose stands on the border.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from ingot.targets.npu.composites import Composite
from ingot.targets.npu.rules.base import to_nhwc

DOMAIN = "ingot.npu"
INDEX = "index"
_TO_NCHW = (0, 3, 1, 2)
_TO_NHWC = (0, 2, 3, 1)


def replace_composites(model: ir.Model, composites: Sequence[Composite]) -> None:
    """Replaces composites by operators of the NPU's domain, in place.

    Args:
        model: A QDQ graph.
        composites: What of it is to run on the NPU; operator ``i`` has the attribute ``index = i``.
    """
    rewriter = _Rewriter(model.graph)
    for index, composite in enumerate(composites):
        rewriter.replace(index, composite)
    model.opset_imports[DOMAIN] = 1
    RemoveUnusedNodesPass()(model)


class _Rewriter:
    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        # The integers of the original graph as the NPU has them.
        self._nhwc: dict[ir.Value, ir.Value] = {}

    def replace(self, index: int, composite: Composite) -> None:
        cone = composite.cone
        last = cone.all_nodes[-1]
        inputs = [self._as_nhwc(source.integers) for source in composite.layer.sources]
        floats = cone.output is cone.root
        dtype = ir.DataType.INT32 if floats else cone.output.dtype
        name = f"{cone.output.name}_npu"
        made = _value(name, dtype, to_nhwc(cone.shape))
        node = ir.Node(
            DOMAIN, composite.rule.name, inputs, [ir.AttrInt64(INDEX, index)], outputs=[made],
            name=f"{composite.name}/npu",
        )  # fmt: skip
        self._graph.insert_after(last, node)
        self._nhwc[cone.output] = made
        result, behind = self._as_nchw(made, node)
        if floats:
            result, behind = self._dequantized(result, behind, composite)
        self._take_over(cone.output, result, behind)

    def _as_nhwc(self, value: ir.Value) -> ir.Value:
        if value in self._nhwc:
            return self._nhwc[value]
        shape = [int(size) for size in value.shape or () if isinstance(size, int)]
        if len(shape) != len(_TO_NHWC):
            return value
        moved = _value(f"{value.name}_nhwc", value.dtype, to_nhwc(shape))
        node = _transpose(value, moved, _TO_NHWC)
        producer = value.producer()
        if producer is None:
            self._graph.insert_before(next(iter(self._graph)), node)
        else:
            self._graph.insert_after(producer, node)
        self._nhwc[value] = moved
        return moved

    def _as_nchw(self, value: ir.Value, behind: ir.Node) -> tuple[ir.Value, ir.Node]:
        shape = [int(size) for size in value.shape or () if isinstance(size, int)]
        if len(shape) != len(_TO_NCHW):
            return value, behind
        moved = _value(f"{value.name}_nchw", value.dtype, [shape[axis] for axis in _TO_NCHW])
        node = _transpose(value, moved, _TO_NCHW)
        self._graph.insert_after(behind, node)
        return moved, node

    def _dequantized(
        self, value: ir.Value, behind: ir.Node, composite: Composite
    ) -> tuple[ir.Value, ir.Node]:
        """The real numbers that accumulators stand for."""
        scales = np.array(composite.layer.accumulator_scales, np.float32)
        name = f"{composite.cone.output.name}_accumulator_scale"
        scale = ir.Value(name=name, const_value=ir.tensor(scales, name=name))
        scale.shape, scale.dtype = ir.Shape(scales.shape), ir.DataType.FLOAT
        self._graph.register_initializer(scale)
        rank = len(value.shape or ())
        real = _value(f"{value.name}_real", ir.DataType.FLOAT, composite.cone.shape)
        node = ir.Node(
            "", "DequantizeLinear", [value, scale],
            [ir.AttrInt64("axis", 1 if rank == len(_TO_NCHW) else rank - 1)], outputs=[real],
            name=f"{real.name}/DequantizeLinear",
        )  # fmt: skip
        self._graph.insert_after(behind, node)
        return real, node

    def _take_over(self, old: ir.Value, new: ir.Value, behind: ir.Node) -> None:
        """Has every reader of a value read another one."""
        for use in list(old.uses()):
            if use.node is not behind:
                use.node.replace_input_with(use.idx, new)
        for index, output in enumerate(self._graph.outputs):
            if output is old:
                self._graph.outputs[index] = new
                new.name, old.name = old.name, f"{old.name}_replaced"


def _value(name: str, dtype: ir.DataType | None, shape: Sequence[int]) -> ir.Value:
    kind = None if dtype is None else ir.TensorType(dtype)
    return ir.Value(name=name, type=kind, shape=ir.Shape(shape))


def _transpose(value: ir.Value, result: ir.Value, axes: Sequence[int]) -> ir.Node:
    return ir.Node(
        "", "Transpose", [value], [ir.AttrInt64s("perm", list(axes))], outputs=[result],
        name=f"{result.name}/Transpose",
    )  # fmt: skip
