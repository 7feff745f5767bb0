"""Max, Mean, Min and Sum of one operand, two and more, broadcast and behind a convolution."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import parser

from ingot.reference.session import Reference
from tests.targets.cpu.conftest import Compile, Run
from tests.targets.cpu.networks import Network, assert_agrees, normal

OPERATORS = ["Max", "Mean", "Min", "Sum"]


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(
    "body",
    [
        "y = {}(a)",
        "y = {}(a, b)",
        "y = {}(c, a, b)",
        "t = Constant<value = float[3] {{0.5, -0.5, 0.25}}>() y = {}(t, c, a)",
        "t = Constant<value = float[3] {{0.5, -0.5, 0.25}}>() u = {}(t, t) y = Add(u, a)",
    ],
)
def test_any_number_of_operands(run_on_cpu: Run, operator: str, body: str) -> None:
    model = parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 20]>
        g (float[N, 3] a, float[N, 3] b, float[N, 1] c) => (float[N, 3] y)
        {{ {body.format(operator)} }}""")
    inputs = [normal(4, 3), normal(4, 3, seed=1), normal(4, 1, seed=2)]
    expected = Reference(model).run(dict(zip("abc", inputs, strict=True)))["y"]
    (actual,) = run_on_cpu(model, *inputs)
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("operator", ["Max", "Min"])
def test_integers(run_on_cpu: Run, operator: str) -> None:
    model = parser.parse_model(f"""<ir_version: 10, opset_import: ["" : 20]>
        g (int64[5] a, int64[5] b) => (int64[5] y) {{ y = {operator}(a, b) }}""")
    inputs = [np.arange(5) - 2, np.arange(5)[::-1].copy()]
    expected = Reference(model).run(dict(zip("ab", inputs, strict=True)))["y"]
    (actual,) = run_on_cpu(model, *inputs)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("operator", OPERATORS)
def test_behind_a_convolution(compile_for_cpu: Compile, operator: str) -> None:
    network = Network()
    x = network.input(1, 5, 6, 6)
    branches = [network.apply("Conv", x, network.weight(9, 5, 1, 1)) for _ in range(2)]
    network.output(network.apply("Relu", network.apply(operator, *branches)))
    compiled = compile_for_cpu(network.model())
    assert compiled.work == ["matmul", "matmul"]
    assert_agrees(compiled, network)
