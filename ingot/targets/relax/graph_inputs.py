"""The graph's inputs as parameters: their dtypes, and their dimensions as numbers and variables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import onnx
from tvm import relax, tirx

from ingot.targets.relax.expressions import Size, as_expression

# Sums and products of other dimensions, as exporters name what a cache and new tokens make up.
_OPERATOR = re.compile(r"\s*(//|[-+*/])\s*")


def input_types(inputs: Iterable[onnx.ValueInfoProto]) -> dict[str, relax.TensorType]:
    """Returns the type of each input by name.

    A dimension's name stands for one variable wherever it is written; one that spells out a sum,
    difference, product or quotient of others (``past + new``) is that.

    Args:
        inputs: Inputs of known rank.
    """
    inputs = list(inputs)
    symbols: dict[str, tirx.Var] = {}
    for value in inputs:
        for dimension in value.type.tensor_type.shape.dim:
            name = dimension.dim_param.strip()
            if name and len(_OPERATOR.split(name)) == 1 and not name.isdigit():
                symbols.setdefault(name, tirx.Var(name, "int64"))
    return {value.name: _type_of(value, symbols) for value in inputs}


def _type_of(value: onnx.ValueInfoProto, symbols: dict[str, tirx.Var]) -> relax.TensorType:
    kind = value.type.tensor_type
    sizes: list[Size] = []
    for dimension in kind.shape.dim:
        name = dimension.dim_param.strip()
        if dimension.HasField("dim_value") and dimension.dim_value >= 0:
            sizes.append(int(dimension.dim_value))
        elif name:
            sizes.append(_size_of(name, symbols))
        else:
            sizes.append(tirx.Var("size", "int64"))
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    return relax.TensorType([as_expression(size) for size in sizes], str(dtype))


def _size_of(name: str, symbols: dict[str, tirx.Var]) -> Size:
    """Returns a named dimension; a variable of its own where the name is no known expression."""
    tokens = _OPERATOR.split(name)
    operands = [_operand(token, symbols) for token in tokens[::2]]
    if None in operands:
        return symbols.setdefault(name, tirx.Var(re.sub(r"\W+", "_", name), "int64"))
    # Products first.
    terms: list[tuple[str, Size]] = [("+", _given(operands[0]))]
    for operator, operand in zip(tokens[1::2], map(_given, operands[1:]), strict=True):
        if operator in "+-":
            terms.append((operator, operand))
            continue
        sign, left = terms.pop()
        times = operator == "*"
        joined = left * operand if times else tirx.floordiv(as_expression(left), operand)
        terms.append((sign, joined))
    total: Size = 0
    for sign, term in terms:
        total = total + term if sign == "+" else total - term
    return total


def _given(operand: Size | None) -> Size:
    assert operand is not None
    return operand


def _operand(token: str, symbols: Mapping[str, tirx.Var]) -> Size | None:
    token = token.strip()
    return int(token) if token.isdigit() else symbols.get(token)
