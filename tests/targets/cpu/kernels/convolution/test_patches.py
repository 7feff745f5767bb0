"""Convolutions of images of open size: what ONNX Runtime computes, in one kernel."""

from __future__ import annotations

import pytest

from tests.targets.cpu.conftest import Compile
from tests.targets.cpu.networks import Network, assert_agrees


@pytest.mark.parametrize(
    ("channels", "filters", "groups", "attributes"),
    [
        pytest.param(8, 24, 8, {"pads": [1, 1, 1, 1]}, id="three filters per channel"),
        pytest.param(5, 90, 5, {"strides": [2, 1], "dilations": [1, 2]}, id="eighteen, in steps"),
        pytest.param(12, 20, 4, {"pads": [0, 2, 1, 0]}, id="groups, padded unevenly"),
        pytest.param(7, 17, 1, {"pads": [1, 1, 1, 1], "strides": [2, 2]}, id="one group"),
    ],
)
def test_open_sizes(
    compile_for_cpu: Compile,
    channels: int,
    filters: int,
    groups: int,
    attributes: dict[str, list[int]],
) -> None:
    network = Network()
    x = network.input("N", channels, "H", "W")
    weights = network.weight(filters, channels // groups, 3, 3)
    network.output(network.apply("Conv", x, weights, group=groups, **attributes))
    compiled = compile_for_cpu(network.model())
    assert "convolution" in compiled.work
    for batch, height, width in ((1, 9, 8), (3, 5, 17)):
        assert_agrees(compiled, network, N=batch, H=height, W=width)
