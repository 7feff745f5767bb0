"""The kernels of recurrent layers: sizes, processors, threads, and what their loops are made of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingot.targets.cpu.kernels.recurrence.problem import Units, passes
from ingot.targets.cpu.machine import CpuDescription
from ingot.targets.relax.recurrence import Activation, Recurrence
from tests.examples import examples
from tests.recurrent_layers import GATES, Layer
from tests.targets.cpu.assembly import accumulating_loops
from tests.targets.cpu.conftest import Compile, Compiled
from tests.targets.cpu.processors import AVX2, AVX512, PROCESSORS

CELLS = sorted(GATES)


def recurrence(cell: str, *, linear_before_reset: bool = False) -> Recurrence:
    activations = ((Activation("tanh"),) * {"LSTM": 3, "GRU": 2, "RNN": 1}[cell],)
    return Recurrence(cell, (False,), activations, linear_before_reset=linear_before_reset)


def assert_agrees(compiled: Compiled, layer: Layer, steps: int, batch: int, threads: int = 2):
    arrays = layer.arrays(steps, batch)
    results = compiled(*layer.feed(arrays).values(), threads=threads)
    for (name, right), actual in zip(layer.expected(arrays).items(), results, strict=True):
        np.testing.assert_allclose(actual, right, rtol=1e-5, atol=2e-6, err_msg=name)
    return results


@settings(max_examples=examples(10), deadline=None)
@given(
    cell=st.sampled_from(CELLS),
    hidden=st.integers(1, 70),
    inputs=st.integers(1, 20),
    steps=st.integers(1, 6),
    batch=st.integers(1, 20),
    reset=st.sampled_from([0, 1]),
    direction=st.sampled_from(["forward", "reverse", "bidirectional"]),
)
def test_any_sizes(compile_for_cpu: Compile, cell: str, hidden: int, inputs: int, steps: int,
                   batch: int, reset: int, direction: str) -> None:  # fmt: skip
    attributes: dict[str, object] = {"direction": direction}
    if cell == "GRU":
        attributes["linear_before_reset"] = reset
    layer = Layer(cell, hidden, inputs, given=("B", "initial_h"), attributes=attributes)
    assert_agrees(compile_for_cpu(layer.model(steps, batch)), layer, steps, batch)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("processor", ["sse", "avx2", "avx512"])
def test_processors(compile_for_cpu: Compile, processor: str, cell: str) -> None:
    layer = Layer(cell, hidden=24, given=("B",), attributes={"direction": "bidirectional"})
    compiled = compile_for_cpu(layer.model(3, 5), PROCESSORS[processor])
    assert sorted(compiled.work) == sorted(["matmul", cell.lower()])
    assert_agrees(compiled, layer, 3, 5)


@pytest.mark.parametrize("cpu", [AVX2, AVX512], ids=["avx2", "avx512"])
@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("cell", CELLS)
def test_products_stay_in_registers_and_gates_in_vectors(
    compile_for_cpu: Compile, cell: str, batch: int, cpu: CpuDescription
) -> None:
    register = {8: "ymm", 16: "zmm"}[cpu.float_lanes]
    layer = Layer(cell, hidden=64, inputs=100)
    assembly = compile_for_cpu(layer.model(4, batch), cpu).assembly
    loops = accumulating_loops(assembly, register)
    # Gates divide.
    loops = [loop for loop in loops if "vdivps" not in str(loop)]
    assert loops
    for loop in loops:
        assert loop.spills == [], loop
    for function in ("expf", "tanhf", "logf"):
        assert function not in assembly


def test_threads_change_no_bit(compile_for_cpu: Compile) -> None:
    layer = Layer("LSTM", hidden=96, inputs=64, attributes={"direction": "bidirectional"})
    arrays = layer.arrays(30, 7)
    compiled = compile_for_cpu(layer.model(30, 7))
    results = [
        [result.tobytes() for result in compiled(*layer.feed(arrays).values(), threads=threads)]
        for threads in (1, 2, 3)
    ]
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize(
    ("hidden", "batch", "cpu", "width"),
    [
        (128, 1, AVX512, 32),
        (128, 6, AVX512, 16),
        (112, 1, AVX512, 16),
        (3, 1, AVX512, 16),
        (48, 1, AVX2, 16),
    ],
)
def test_groups_of_units_divide_them_and_fit_registers(
    hidden: int, batch: int, cpu: CpuDescription, width: int
) -> None:
    units = Units.choose(recurrence("LSTM"), hidden, batch, cpu)
    assert units.width == width
    assert units.padded == -(-hidden // cpu.float_lanes) * cpu.float_lanes


def test_units_lie_by_group_then_gate() -> None:
    units = Units(hidden=5, lanes=2, vectors=1)
    assert units.order([0, 3]).tolist() == [0, 1, 15, 16, 2, 3, 17, 18, 4, -1, 19, -1]


def test_a_state_that_is_reset_takes_a_second_pass() -> None:
    assert passes(recurrence("GRU")) == ((0, 1), (2,))
    assert passes(recurrence("GRU", linear_before_reset=True)) == ((0, 1, 2),)
    assert passes(recurrence("LSTM")) == ((0, 1, 2, 3),)
