"""ONNX's node conformance suite: its cases with inputs and expected outputs, and the comparison."""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

# What the outputs of these cases are depends on the generator, which ONNX leaves open.
_RANDOM = re.compile(r"test_(bernoulli|training_dropout(?!_zero_ratio))")
# A case whose node is spelled out as its function's body is named after the case it was made of.
_EXPANDED = re.compile(r"_expanded(_ver\d+)?$")


@dataclasses.dataclass(frozen=True)
class Case:
    """A case of the suite.

    Attributes:
        name: The suite's name of it.
        operator: The operator that it is about, with its domain unless that is the standard one.
        model: The model, serialized.
        inputs: The inputs by name: an array, a list of such for a sequence, None for an optional
            that holds nothing.
        expected: The outputs in order, of the same kinds.
        rtol: Relative tolerance of the comparison, as the suite has it.
        atol: Absolute tolerance.
        random: Whether the outputs are drawn at random: of such, shapes and types count.
    """

    name: str
    operator: str
    model: bytes
    inputs: dict[str, Any]
    expected: list[Any]
    rtol: float
    atol: float
    random: bool = False


def load_cases() -> dict[str, Case]:
    """Returns all cases that the installed onnx has, by name, in the order of operators."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of overflows that the cases mean to have
        from onnx.backend.test.case.node import collect_testcases

        tests = {test.name: test for test in collect_testcases(None)}
    cases = [_case(test, tests) for test in tests.values()]
    return {case.name: case for case in sorted(cases, key=lambda case: (case.operator, case.name))}


def _case(test: Any, tests: dict[str, Any]) -> Case:
    [(inputs, outputs)] = test.data_sets
    node = tests[_EXPANDED.sub("", test.name)].model.graph.node[0]
    values = [_value(value) for value in inputs]
    names = [value.name for value in test.model.graph.input]
    return Case(
        name=test.name,
        operator=f"{node.domain}.{node.op_type}" if node.domain else node.op_type,
        model=test.model.SerializeToString(),
        inputs=dict(zip(names, values, strict=True)),
        expected=[_value(value) for value in outputs],
        rtol=test.rtol,
        atol=test.atol,
        random=bool(_RANDOM.match(test.name)),
    )


def _value(value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, onnx.SequenceProto):
        return numpy_helper.to_list(value)
    if isinstance(value, onnx.OptionalProto):
        return _value(numpy_helper.to_optional(value))
    if isinstance(value, (list, tuple)):
        return [_value(entry) for entry in value]
    return np.asarray(value)


def first_difference(case: Case, outputs: Sequence[Any]) -> str | None:
    """Returns what is wrong with the outputs in one line, or None: as onnx's own runner has it."""
    if len(outputs) != len(case.expected):
        return f"{len(outputs)} outputs instead of {len(case.expected)}"
    for position, (actual, expected) in enumerate(zip(outputs, case.expected, strict=True)):
        found = _difference(actual, expected, case)
        if found is not None:
            return f"output {position}: {found}"
    return None


def _difference(actual: Any, expected: Any, case: Case) -> str | None:
    if expected is None or actual is None:
        same = actual is None and expected is None
        return None if same else f"{_kind(actual)} instead of {_kind(expected)}"
    if isinstance(expected, list):
        if not isinstance(actual, (list, tuple)) or len(actual) != len(expected):
            return f"{_kind(actual)} instead of {_kind(expected)}"
        found = (_difference(a, e, case) for a, e in zip(actual, expected, strict=True))
        return next((difference for difference in found if difference is not None), None)
    if not isinstance(actual, np.ndarray):
        return f"{_kind(actual)} instead of an array"
    if actual.shape != expected.shape:
        return f"shape {list(actual.shape)} instead of {list(expected.shape)}"
    if expected.dtype.kind in "OUT":
        return None if np.array_equal(actual, expected) else "other strings"
    if actual.dtype != expected.dtype:
        return f"dtype {actual.dtype} instead of {expected.dtype}"
    return None if case.random else _largest_error(actual, expected, case)


def _largest_error(actual: Any, expected: Any, case: Case) -> str | None:
    if expected.dtype.kind not in "biufc":  # one of ml_dtypes, all of which float32 can hold
        actual, expected = actual.astype(np.float32), expected.astype(np.float32)
    if np.allclose(actual, expected, rtol=case.rtol, atol=case.atol, equal_nan=True):
        return None
    apart = ~np.isclose(actual, expected, rtol=case.rtol, atol=case.atol, equal_nan=True)
    where = tuple(int(index) for index in np.argwhere(apart)[0]) if apart.ndim else ()
    return (
        f"{int(apart.sum())} of {apart.size} elements differ, the first at {list(where)}: "
        f"{actual[where]} instead of {expected[where]}"
    )


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, (list, tuple)):
        return f"a sequence of {len(value)}"
    return "an array" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
