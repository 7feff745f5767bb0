"""Small tensors whose elements are known as numbers or as expressions of dimensions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax, tirx

from ingot.targets.relax.expressions import as_expression, plain, simplified

Elements = npt.NDArray[np.object_]

# Numbers of a tensor; what is larger is data, not a shape.
LARGEST = 128
_DTYPES = frozenset({"bool", "int32", "int64", "float32", "float64"})


@dataclasses.dataclass(frozen=True)
class Known:
    """A tensor of at most one hundred or so elements that are known before the model runs.

    Attributes:
        dtype: Its element type, by NumPy's name.
        elements: An array of Python numbers and TVM expressions. Expressions of integers are of 64
            bits whatever the dtype.
    """

    dtype: str
    elements: Elements

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return tuple(int(size) for size in self.elements.shape)

    @property
    def flat(self) -> list[Any]:
        """Its elements in row-major order."""
        return list(self.elements.reshape(-1))

    @property
    def is_float(self) -> bool:
        """Whether its elements are floating-point numbers."""
        return self.dtype.startswith("float")

    @property
    def is_constant(self) -> bool:
        """Whether all of its elements are numbers."""
        return not any(isinstance(element, tirx.Expr) for element in self.flat)

    def array(self) -> npt.NDArray[Any]:
        """Returns a constant as an array of its dtype; integers wrap around."""
        wide = self.elements.astype("int64") if self.dtype == "int32" else self.elements
        return wide.astype(self.dtype)

    def scalar(self) -> Any:
        """Returns the only element."""
        (element,) = self.flat
        return element

    def map(self, function: Callable[[Any], Any], dtype: str | None = None) -> Known:
        """Returns a tensor of what a function gives for each element."""
        elements = elements_of(map(function, self.flat), self.shape)
        return Known(dtype or self.dtype, elements)

    def of(self, elements: Any) -> Known:
        """Returns a tensor of the same dtype with other elements, an array or a single one."""
        if isinstance(elements, np.ndarray):
            return Known(self.dtype, elements)
        return Known(self.dtype, elements_of([elements], ()))


def elements_of(values: Iterable[Any], shape: Iterable[int]) -> Elements:
    """Returns an array of elements, simplified."""
    listed = [simplified(value) for value in values]
    array = np.empty(len(listed), dtype=object)
    # One by one: NumPy would look into expressions for a sequence.
    for position, value in enumerate(listed):
        array[position] = value
    return array.reshape(tuple(shape))


def known_vector(values: Iterable[Any], dtype: str = "int64") -> Known:
    """Returns a tensor of one dimension."""
    listed = list(values)
    return Known(dtype, elements_of(listed, (len(listed),)))


def known_scalar(value: Any, dtype: str = "int64") -> Known:
    """Returns a tensor without dimensions."""
    return Known(dtype, elements_of([value], ()))


def known_of(entry: Any) -> Known | None:
    """Returns what is known of a node's input; None of data that is computed when the model runs.

    Args:
        entry: A known tensor, a Relax constant, or any other Relax expression.
    """
    if isinstance(entry, Known):
        return entry
    if isinstance(entry, tvm.ir.GenericConst):
        array = entry.value.numpy()
        if array.size <= LARGEST and array.dtype.name in _DTYPES:
            return Known(array.dtype.name, array.astype(object))
        return None
    if isinstance(entry, relax.ShapeExpr):
        return known_vector(plain(size) for size in entry.values)
    if entry is not None and tvm.ir.is_prim_expr(entry):
        return known_scalar(plain(entry), str(entry.ty.dtype))
    return None


def as_float(value: Any, dtype: str) -> Any:
    """Returns an element as a floating-point number of a dtype."""
    if isinstance(value, tirx.Expr):
        return value if str(value.ty.dtype) == dtype else tirx.Cast(dtype, value)
    return float(np.dtype(dtype).type(value))


def as_operand(value: Any, dtype: str) -> tirx.Expr:
    """Returns an element as an expression, a number as one of a dtype."""
    if isinstance(value, tirx.Expr):
        return value
    if dtype == "bool":
        return tirx.const(bool(value), "bool")
    return tirx.const(value, dtype) if dtype.startswith("float") else as_expression(int(value))
