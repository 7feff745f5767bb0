"""Integers and conversions to them: what wraps, what is cut off, and that nothing traps."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from ingot.runtime.cpu_features import machine_architecture
from tests.targets.cpu.conftest import Run

FLOATS = [
    0.6, -0.6, 2.5, -2.7, 127.0, 128.0, 200.7, 255.0, 256.0, 300.2, -1.0, -129.0, 32767.0, 32768.0,
    65536.0, 70000.5, 2147483520.0, 2147483648.0, 4294967040.0, 4294967296.0, 9.2e18, 9.3e18,
    1.8e19, 2e19, 1e30, np.inf, np.nan,
]  # fmt: skip
FLOAT_TYPES = ["float16", "float32", "float64"]
INTEGERS = [f"{sign}int{bits}" for bits in (8, 16, 32, 64) for sign in ("", "u")]


def onnx_type(dtype: str) -> int:
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def model(
    nodes: list[onnx.NodeProto], inputs: dict[str, str], outputs: dict[str, str]
) -> onnx.ModelProto:
    """A model of vectors, its inputs and outputs given with their types."""
    values = [
        [helper.make_tensor_value_info(name, onnx_type(dtype), ["N"]) for name, dtype in each]
        for each in (inputs.items(), outputs.items())
    ]
    graph = helper.make_graph(nodes, "vectors", *values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def cast_to_all(run_on_cpu: Run, values: np.ndarray, targets: list[str]) -> dict[str, np.ndarray]:
    nodes = [helper.make_node("Cast", ["x"], [each], to=onnx_type(each)) for each in targets]
    casts = model(nodes, {"x": str(values.dtype)}, {each: each for each in targets})
    return dict(zip(targets, run_on_cpu(casts, values), strict=True))


def wrapped(values: np.ndarray, target: str) -> np.ndarray:
    """What x86's conversions give: the least number of 32 or 64 bits where it does not fit."""
    bits = 64 if target in ("uint32", "int64", "uint64") else 32
    found = []
    for value in values.astype(np.float64).tolist():
        whole, least, most = None, -(2 ** (bits - 1)), 2 ** (bits - 1)
        if target == "uint64":
            most = 2**64
            least = 0 if value >= most else least
        if np.isfinite(value):
            whole = int(value)
        fits = whole is not None and -(2 ** (bits - 1)) <= whole < most
        found.append(whole if fits else least)
    return lowest_bits(found, target)


def lowest_bits(numbers: list[int], dtype: str) -> np.ndarray:
    size = 8 * np.dtype(dtype).itemsize
    return np.array([number % 2**size for number in numbers], f"uint{size}").astype(dtype)


@pytest.mark.skipif(machine_architecture() != "x86_64", reason="is as x86 converts")
@pytest.mark.parametrize("source", FLOAT_TYPES)
def test_floats_to_integers(run_on_cpu: Run, source: str) -> None:
    with np.errstate(over="ignore"):
        values = np.array(FLOATS * 3, source)
    for target, result in cast_to_all(run_on_cpu, values, INTEGERS).items():
        np.testing.assert_array_equal(result, wrapped(values, target), err_msg=target)


@pytest.mark.parametrize("source", FLOAT_TYPES)
def test_floats_to_truths(run_on_cpu: Run, source: str) -> None:
    values = np.array([0.4, -0.4, 0.0, -0.0, np.nan, np.inf, -np.inf, 1e-7] * 9, source)
    result = cast_to_all(run_on_cpu, values, ["bool"])["bool"]
    np.testing.assert_array_equal(result, values != 0)


@pytest.mark.parametrize("source", [*INTEGERS, "bool"])
def test_integers_to_all(run_on_cpu: Run, source: str) -> None:
    values = np.random.default_rng(0).integers(-(2**15), 2**15, 77).astype(source)
    targets = [*INTEGERS, "bool", *FLOAT_TYPES]
    for target, result in cast_to_all(run_on_cpu, values, targets).items():
        np.testing.assert_array_equal(result, values.astype(target), err_msg=target)


def pairs(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """All pairs of a type's extreme and of some small numbers, the second also zero."""
    info = np.iinfo(dtype)
    values = [info.min, info.max, 1, 2, 3, 5, 7, 100, *([-1, -7] if info.min else [])]
    left, right = np.meshgrid(np.array(values, dtype), np.array([*values, 0], dtype))
    return left.reshape(-1), right.reshape(-1)


def divided(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quotient, rounded toward zero, and remainder, by Python's integers."""
    quotients, remainders = [], []
    for a, b in zip(left.tolist(), right.tolist(), strict=True):
        quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
        quotients.append(quotient)
        remainders.append(a - quotient * b)
    dtype = str(left.dtype)
    return lowest_bits(quotients, dtype), lowest_bits(remainders, dtype)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_division_of_integers(run_on_cpu: Run, dtype: str) -> None:
    left, right = pairs(dtype)
    left, right = left[right != 0], right[right != 0]
    nodes = [
        helper.make_node("Div", ["x", "y"], ["quotient"]),
        helper.make_node("Mod", ["x", "y"], ["remainder"], fmod=1),
        helper.make_node("Mod", ["x", "y"], ["modulus"]),
    ]
    inputs = dict.fromkeys("xy", dtype)
    names = dict.fromkeys(("quotient", "remainder", "modulus"), dtype)
    found = run_on_cpu(model(nodes, inputs, names), left, right)
    quotient, remainder = divided(left, right)
    differs = (remainder != 0) & ((remainder < 0) != (right < 0))
    modulus = np.where(differs, remainder + right, remainder)
    for name, mine, wanted in zip(names, found, (quotient, remainder, modulus), strict=True):
        np.testing.assert_array_equal(mine, wanted, err_msg=name)


def test_products_that_wrap_are_not_simplified(run_on_cpu: Run) -> None:
    """``x * 6 / 3`` is not ``x * 2`` where the product has wrapped."""
    values = np.array([1, -5, 2**40, -(2**62), 2**62 + 12345, 2**63 - 1] * 5)
    nodes = [
        helper.make_node("Constant", [], ["six"], value=numpy_helper.from_array(np.int64(6))),
        helper.make_node("Constant", [], ["three"], value=numpy_helper.from_array(np.int64(3))),
        helper.make_node("Mul", ["x", "six"], ["product"]),
        helper.make_node("Div", ["product", "three"], ["quotient"]),
        helper.make_node("Mod", ["product", "three"], ["modulus"]),
    ]
    result = run_on_cpu(
        model(nodes, {"x": "int64"}, {"quotient": "int64", "modulus": "int64"}), values
    )
    with np.errstate(over="ignore"):
        product = values * 6
    quotient, _ = divided(product, np.full_like(product, 3))
    np.testing.assert_array_equal(result[0], quotient)
    np.testing.assert_array_equal(result[1], product % 3)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_powers_of_integers(run_on_cpu: Run, dtype: str) -> None:
    base = np.array([-3, -2, 2, 5, 10, 0, 7, -1, 2, 3], dtype)
    exponent = np.array([3, 2, 30, 0, 9, 0, 1, 5, -1, 4], dtype)
    nodes = [helper.make_node("Pow", ["x", "y"], ["z"])]
    (found,) = run_on_cpu(model(nodes, {"x": dtype, "y": dtype}, {"z": dtype}), base, exponent)
    expected = [int(float(b) ** float(e)) for b, e in zip(base, exponent, strict=True)]
    np.testing.assert_array_equal(found, np.array(expected, dtype))


def test_means_of_integers(run_on_cpu: Run) -> None:
    """Cut off toward zero, and of the type of what they are of."""
    values = np.array([[-7, 0, 0, 0], [7, 1, 1, 0]], np.int32)
    axes = numpy_helper.from_array(np.array([1]), "axes")
    info = [helper.make_tensor_value_info(*each) for each in (("x", 6, [2, 4]), ("y", 6, [2]))]
    node = helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0)
    graph = helper.make_graph([node], "mean", info[:1], info[1:], [axes])
    means = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    (found,) = run_on_cpu(means, values)
    np.testing.assert_array_equal(found, np.array([-1, 2], np.int32))
    assert found.dtype == np.int32
