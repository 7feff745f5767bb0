"""Narrowing to bytes: what is recognized, and that each byte is the integer's, saturated."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tvm import tirx

from ingot.runtime.cpu_features import machine_architecture
from ingot.targets.cpu.kernels.writing.emission import Emitter, index, prim_func, vector_at
from ingot.targets.cpu.kernels.writing.narrowing import narrow, narrowed, packs_bytes
from ingot.targets.cpu.machine import describe_cpu
from tests.targets.cpu.kernels.conftest import Kernel, compile_kernel

AVX512 = "icelake-server"


def clamped(value: tirx.Expr, low: int, high: int) -> tirx.Expr:
    dtype = str(value.ty.dtype)
    return tirx.Max(tirx.Min(value, tirx.const(high, dtype)), tirx.const(low, dtype))


def two_steps(value: tirx.Expr, low: int = 0, high: int = 255, dtype: str = "uint8") -> tirx.Expr:
    half = tirx.Cast("int16", clamped(value, -(2**15), 2**15 - 1))
    return tirx.Cast(dtype, clamped(half, low, high))


class TestWhatIsRecognized:
    whole = tirx.Var("whole", "int32")

    @pytest.mark.parametrize(
        ("low", "high", "dtype"), [(0, 255, "uint8"), (-128, 127, "int8")], ids=["uint8", "int8"]
    )
    def test_saturation_in_two_steps(self, low: int, high: int, dtype: str) -> None:
        assert narrowed(two_steps(self.whole, low, high, dtype)).same_as(self.whole)

    @pytest.mark.parametrize(
        "expression",
        [
            pytest.param(tirx.Cast("uint8", whole), id="without saturation"),
            pytest.param(tirx.Cast("uint8", clamped(whole, 0, 255)), id="in one step"),
            pytest.param(two_steps(whole, 0, 200), id="to other limits"),
            pytest.param(two_steps(whole, -128, 127), id="to another type's limits"),
            pytest.param(two_steps(tirx.Var("x", "int64")), id="of wider integers"),
            pytest.param(whole, id="not narrowed at all"),
        ],
    )
    def test_nothing_else(self, expression: tirx.Expr) -> None:
        assert narrowed(expression) is None


@pytest.mark.parametrize(
    ("mcpu", "packs"),
    [("haswell", False), ("alderlake", False), ("knl", False), ("skylake-avx512", True)],
)
def test_processors_that_have_it(mcpu: str, packs: bool) -> None:
    assert packs_bytes(describe_cpu(mcpu, threads=1)) is packs


@pytest.mark.skipif(machine_architecture() != "x86_64", reason="names x86's processors")
@pytest.mark.parametrize("lanes", [32, 64])
@pytest.mark.parametrize("dtype", ["uint8", "int8"])
class TestNarrowing:
    @staticmethod
    def kernel(lanes: int, dtype: str) -> Kernel:
        source = tirx.decl_buffer([index(lanes)], "int32", "source")
        result = tirx.decl_buffer([index(lanes)], dtype, "result")
        emitter = Emitter()
        emitter.store(result, narrow(emitter, source, dtype), [vector_at(0, lanes)])
        return compile_kernel(
            prim_func([source, result], emitter.body()), describe_cpu(AVX512, threads=1)
        )

    def test_each_byte_is_the_integer_saturated(self, lanes: int, dtype: str) -> None:
        kernel, limits = self.kernel(lanes, dtype), np.iinfo(dtype)
        near = st.integers(-300, 300)
        far = st.sampled_from([2**31 - 1, -(2**31), 2**15, -(2**15) - 1, 70000, -70000])

        @settings(deadline=None)
        @given(arrays.arrays(np.int32, lanes, elements=near | far))
        def holds(values: np.ndarray) -> None:
            expected = np.clip(values, limits.min, limits.max).astype(dtype)
            np.testing.assert_array_equal(kernel(values, shape=(lanes,), dtype=dtype), expected)

        holds()

    def test_in_one_permutation(self, lanes: int, dtype: str) -> None:
        code = self.kernel(lanes, dtype).assembly
        assert len(re.findall(r"\bvpack\w+", code)) == lanes // 16 // 2 + 1
        assert len(re.findall(r"\bvperm\w+", code)) == 1
        assert not re.search(r"\bvpmov[us]", code)
