"""Executors check what they are given, and are found by name."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Sequence

import numpy as np
import pytest

from ingot import profiling
from ingot.errors import IngotError, InputError, UsageError
from ingot.runtime.npu.executor import Array, RegionExecutor, make_executor
from ingot.runtime.npu.region import (
    Area,
    Configuration,
    Estimate,
    LayerEstimate,
    Region,
    RegionTensor,
)

REGION = Region(
    name="region0",
    configuration=Configuration("ethos-u55-256", "Ethos_U55_High_End_Embedded", "Shared_Sram"),
    inputs=(RegionTensor("x", "int8", (1, 4), 1, 16),),
    outputs=(RegionTensor("y", "int8", (1, 4), 1, 0),),
    scratch=Area(1, 32),
    fast_scratch=Area(0, 0),
    weights_base=0,
    graph=b"",
    command_stream=b"",
    weights=b"",
    versions={},
    nodes=(),
    estimate=Estimate(0, 0, 0, 0.0, {}, ()),
)


class Negative(RegionExecutor):
    def execute(self, inputs: Sequence[Array]) -> list[Array]:
        return [-inputs[0]]


def test_what_fits_is_executed() -> None:
    (found,) = Negative(REGION).run([np.array([[1, 2, 3, 4]], np.int8)])
    np.testing.assert_array_equal(found, [[-1, -2, -3, -4]])


def test_what_the_npu_is_estimated_to_take_is_recorded() -> None:
    layer = LayerEstimate("y", "Conv2D", 90, 80, 4, {})
    region = dataclasses.replace(REGION, estimate=Estimate(100, 80, 4, 1e9, {}, (layer,)))
    with profiling.start("estimates") as session:
        Negative(region).run([np.array([[1, 2, 3, 4]], np.int8)])
    events = [event for event in session.trace().events if event.source == "npu"]
    assert [(event.name, event.duration_ns) for event in events] == [("region0", 100), ("y", 90)]
    assert all(event.args["estimate"] for event in events)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], "takes 1 inputs, 0 were given"),
        ([np.zeros((1, 4), np.uint8)], r"input x .* is int8\[1, 4\], not uint8\[1, 4\]"),
        ([np.zeros((4, 1), np.int8)], r"input x .* is int8\[1, 4\], not int8\[4, 1\]"),
    ],
)
def test_what_does_not_fit_is_refused(inputs: list[np.ndarray], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Negative(REGION).run(inputs)


def test_an_unknown_kind_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'fpga'; the executors are reference, command-stream"):
        make_executor("fpga", REGION)


def test_a_missing_package_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name}", name="tosa_reference_model")

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(IngotError, match=r"tosa_reference_model: .*install 'ingot\[npu\]'"):
        make_executor("reference", REGION)
