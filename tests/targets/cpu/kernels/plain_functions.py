"""Tensor expressions compiled as the plain loops that TVM makes of them.

x = placeholder((3, "n"))
assert_computes([x], topi.nn.relu(x), [values], lambda x: np.maximum(x, 0))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tvm
from tvm import te, tirx

from ingot.targets.cpu.kernels.plain.plain import write_plain
from ingot.targets.cpu.machine import CpuDescription, describe_cpu
from ingot.targets.relax.tvm_threads import use_threads
from tests.targets.cpu.kernels.conftest import compile_kernel

ROUNDING = 1e-5


def placeholder(shape: Sequence[int | str], dtype: str = "float32", name: str = "x") -> te.Tensor:
    """An input; a dimension that is a name is symbolic, and its own even where names repeat."""
    sizes = [
        tirx.Var(size, "int64") if isinstance(size, str) else tirx.IntImm("int64", size)
        for size in shape
    ]
    return te.placeholder(sizes, dtype, name)


def like(tensor: te.Tensor, shape: Sequence[int | None], name: str = "y") -> te.Tensor:
    """An input with a tensor's dimensions where the shape has None."""
    sizes = [
        own if size is None else tirx.IntImm("int64", size)
        for own, size in zip(tensor.shape, shape, strict=True)
    ]
    return te.placeholder(sizes, tensor.dtype, name)


def prim_func(inputs: Sequence[te.Tensor], outputs: Sequence[te.Tensor]) -> tirx.PrimFunc:
    """The plain loops that TVM makes of a tensor expression."""
    return te.create_prim_func([*inputs, *outputs])


def run(
    function: tirx.PrimFunc,
    arrays: Sequence[np.ndarray],
    results: Sequence[tuple[tuple[int, ...], str]],
    cpu: CpuDescription | None = None,
    threads: int = 2,
) -> list[np.ndarray]:
    """Writes the code of a function, compiles it and runs it on memory that holds nonsense."""
    cpu = cpu or describe_cpu("native", threads=2)
    kernel = compile_kernel(write_plain(function, cpu), cpu)
    use_threads(threads)
    made = [
        tvm.runtime.tensor(np.frombuffer(b"\x5a" * size_of(*result), result[1]).reshape(result[0]))
        for result in results
    ]
    kernel.module["main"](*map(tvm.runtime.tensor, arrays), *made)
    return [tensor.numpy() for tensor in made]


def size_of(shape: tuple[int, ...], dtype: str) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def assert_computes(
    inputs: Sequence[te.Tensor],
    output: te.Tensor,
    arrays: Sequence[np.ndarray],
    reference: Callable[..., np.ndarray],
    *,
    rounding: float = ROUNDING,
    magnitude: float = 1.0,
    cpu: CpuDescription | None = None,
) -> None:
    """Asserts that a tensor expression's code gives a NumPy function's result.

    ``magnitude`` is that of values on the way, where a result may be much smaller: each rounds.
    """
    expected = np.asarray(reference(*arrays))
    result = (expected.shape, str(output.dtype))
    (actual,) = run(prim_func(inputs, [output]), arrays, [result], cpu)
    if np.issubdtype(expected.dtype, np.floating):
        scale = max(magnitude, float(np.abs(expected).max(initial=0)))
        np.testing.assert_allclose(actual, expected, rtol=0, atol=rounding * scale)
    else:
        np.testing.assert_array_equal(actual, expected)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)
