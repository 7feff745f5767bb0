"""Casts to 16 bits and back, as standard ONNX: constants that are rounded once, values behind them.

Rounding is to nearest, ties to even (IEEE 754), as Cast does it. Each reader has its own cast back
to float32, so that what it reads is seen at the node.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.errors import UsageError
from ingot.onnx_graph.edits import Names, add_initializer

SixteenBits = Literal["bf16", "fp16"]

LARGEST = {"bf16": float.fromhex("0x1.fep127"), "fp16": float.fromhex("0x1.ffcp15")}
"""The largest number that each type holds."""

_ARRAYS = {"bf16": np.dtype(ml_dtypes.bfloat16), "fp16": np.dtype(np.float16)}
_TENSORS = {"bf16": ir.DataType.BFLOAT16, "fp16": ir.DataType.FLOAT16}
# Cast takes bfloat16 since then.
_BFLOAT16_OPSET = 13


class Caster:
    """Puts values of a main graph into 16 bits, in place.

    Args:
        model: The model.
        kind: The type.

    Raises:
        UsageError: The model's opset has no such type.
    """

    def __init__(self, model: ir.Model, kind: SixteenBits) -> None:
        opset = model.opset_imports.get("", 1)
        if kind == "bf16" and opset < _BFLOAT16_OPSET:
            raise UsageError(
                f"bfloat16 needs opset {_BFLOAT16_OPSET}, the model has {opset}: convert it first"
            )
        self._graph = model.graph
        self._names = Names(model)
        self._kind = kind
        self._constants: dict[ir.Value, ir.Value] = {}

    def round_constant(self, node: ir.Node, position: int, array: npt.NDArray[np.float32]) -> None:
        """Lets a node read a constant that is stored in 16 bits.

        Args:
            node: The reader.
            position: Of the constant among its inputs.
            array: The constant's elements.
        """
        old = node.inputs[position]
        assert old is not None
        if old not in self._constants:
            dtype = _ARRAYS[self._kind]
            self._constants[old] = add_initializer(
                self._graph, self._names, f"{old.name}_{dtype.name}", array.astype(dtype)
            )
        self._read(node, position, self._constants[old])

    def round_value(self, value: ir.Value, readers: Iterable[tuple[ir.Node, int]]) -> None:
        """Rounds a value behind the node that computes it, for some of its readers.

        Args:
            value: A float32 value of the main graph.
            readers: Nodes of the main graph, and the positions of the value among their inputs.
        """
        cast, rounded = self._cast(value, _TENSORS[self._kind])
        producer = value.producer()
        if producer is None:
            self._graph.insert_before(next(iter(self._graph)), cast)
        else:
            self._graph.insert_after(producer, cast)
        for node, position in readers:
            self._read(node, position, rounded)

    def remove_unread(self) -> None:
        """Removes the float32 constants that nothing reads any more."""
        for old in self._constants:
            if old.is_initializer() and not old.uses() and not old.is_graph_output():
                self._graph.initializers.pop(str(old.name))

    def _read(self, node: ir.Node, position: int, rounded: ir.Value) -> None:
        cast, real = self._cast(rounded, ir.DataType.FLOAT)
        self._graph.insert_before(node, cast)
        node.replace_input_with(position, real)

    def _cast(self, value: ir.Value, dtype: ir.DataType) -> tuple[ir.Node, ir.Value]:
        output = ir.Value(
            name=self._names.fresh(f"{value.name}_{_suffix(dtype)}"),
            type=ir.TensorType(dtype),
            shape=value.shape,
        )
        attributes: dict[str, Any] = {"to": int(dtype)}
        node = ir.Node(
            "",
            "Cast",
            [value],
            ir.convenience.convert_attributes(attributes),
            outputs=[output],
            name=self._names.fresh(f"{value.name}/Cast"),
        )
        return node, output


def _suffix(dtype: ir.DataType) -> str:
    return "float32" if dtype == ir.DataType.FLOAT else dtype.name.lower()
