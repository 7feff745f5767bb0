"""Regions of small graphs, and what their executors make of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import reject

from ingot.runtime.npu.executor import make_executor
from ingot.runtime.npu.region import Area, Configuration, Estimate, Region, RegionTensor
from tests.runtime.npu.command_stream import tosa


def make_region(graph: tosa.Graph, accelerator: str) -> Region:
    """A region of a graph, compiled by Vela."""
    flatbuffer = graph.serialize()
    compiled = tosa.vela(flatbuffer, accelerator)
    _, _, system, memory = tosa.ACCELERATORS[accelerator]
    return Region(
        name="r0",
        configuration=Configuration(accelerator, system, memory),
        inputs=tensors(graph.inputs, compiled.inputs),
        outputs=tensors(graph.outputs, compiled.outputs),
        scratch=Area(compiled.scratch.region, compiled.scratch.size),
        fast_scratch=Area(compiled.scratch_fast.region, compiled.scratch_fast.size),
        weights_base=compiled.read_only.region,
        graph=flatbuffer,
        command_stream=without_header(bytes(compiled.command_stream)),
        weights=bytes(compiled.read_only.data),
        versions={},
        nodes=(),
        estimate=Estimate(0, 0, 0, 0.0, {}, ()),
    )


def without_header(payload: bytes) -> bytes:
    """The command stream without what the driver is told before it (Vela, driver_actions.py)."""
    words = np.frombuffer(payload, "<u4").tolist()
    position, length = 1, 0
    while not length:
        action = words[position] & 0xFF
        position += 3 if action == 0x01 else 1
        if action == 0x02:
            tag = words[position - 1]
            length = (tag >> 16) | (tag >> 8 & 0xFF) << 16
    return payload[4 * position : 4 * (position + length)]


def tensors(values: list[tosa.Value], placed: list[Any]) -> tuple[RegionTensor, ...]:
    return tuple(
        RegionTensor(value.name, value.dtype, value.shape, place.region, place.address)
        for value, place in zip(values, placed, strict=True)
    )


def random_inputs(graph: tosa.Graph, seed: int = 0) -> list[np.ndarray]:
    """Inputs over the whole range of their dtypes."""
    random = np.random.default_rng(seed)
    return [
        random.integers(
            np.iinfo(value.dtype).min, np.iinfo(value.dtype).max + 1, value.shape, value.dtype
        )
        for value in graph.inputs
    ]


def check_equal(
    graph: tosa.Graph, accelerator: str, inputs: list[np.ndarray] | None = None
) -> list[np.ndarray]:
    """Checks that the command stream gives the reference model's bytes; returns them.

    An example that Vela refuses says nothing, and Hypothesis is told so; it fails where all are.
    """
    try:
        region = make_region(graph, accelerator)
    except RuntimeError:
        reject()
    given = random_inputs(graph) if inputs is None else inputs
    expected = tosa.reference(region.graph, [array.view(signed(array)) for array in given])
    actual = make_executor("command-stream", region).run(given)
    for index, (left, right) in enumerate(zip(actual, expected, strict=True)):
        np.testing.assert_array_equal(
            left, right.view(left.dtype), err_msg=f"output {index} on {accelerator}"
        )
    return actual


def signed(array: np.ndarray) -> np.dtype:
    """TOSA has signed tensors alone; RESCALE says where their bits are unsigned."""
    return np.dtype(f"i{array.itemsize}")
