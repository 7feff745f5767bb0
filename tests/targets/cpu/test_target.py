"""What the CPU target asks of passes, and that its code is the same with and without a cache."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx_ir.passes.common import ShapeInferencePass

from ingot.files import CACHE_VARIABLE
from ingot.targets.base import Lowered
from ingot.targets.cpu import machine_code
from ingot.targets.cpu.kernel_cache import SIZE_VARIABLE
from ingot.targets.cpu.kernels import module as kernels
from ingot.targets.cpu.kernels.plain.structure import NotPlainError
from ingot.targets.registry import parse_target


@pytest.mark.parametrize(
    ("processor", "sums"),
    [
        pytest.param("znver3", 4, id="AVX2 adds two products in 16 bits"),
        pytest.param("icelake-client", 1, id="VNNI adds in 32 bits"),
    ],
)
def test_weights_leave_16_bit_sums_room_where_products_are_added_in_them(
    processor: str, sums: int
) -> None:
    target = parse_target(f"cpu:mcpu={processor}")
    options = target.pass_options["quantization.qdq"]
    assert options == {"weight_sums": sums}


TWO_LAYERS = """<ir_version: 10, opset_import: ["": 20]>
    g (float[1,4,9,9] x) => (float[1,6,81] y)
    {
      a = Conv <pads = [1,1,1,1]> (x, w)
      b = Relu (a)
      c = Conv <pads = [1,1,1,1]> (b, v)
      d = Tanh (c)
      e = Reshape (d, shape)
      y = Softmax (e)
    }"""


def graph() -> ir.Model:
    model = onnx.parser.parse_model(TWO_LAYERS)
    generator = np.random.default_rng(0)
    weights = {
        "w": generator.normal(size=(6, 4, 3, 3)).astype(np.float32),
        "v": generator.normal(size=(6, 6, 3, 3)).astype(np.float32),
        "shape": np.array([1, 6, 81]),
    }
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, name) for name, array in weights.items()
    )
    inferred = ir.from_proto(model)
    ShapeInferencePass()(inferred)
    return inferred


@pytest.fixture
def generated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """The kernels that machine code is generated for, with a cache of its own."""
    symbols: list[str] = []
    generate = machine_code._object_file

    def noted(symbol: str, *rest: Any) -> bytes:
        symbols.append(symbol)
        return generate(symbol, *rest)

    monkeypatch.setattr(machine_code, "_object_file", noted)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    yield symbols


def same(one: Lowered, other: Lowered) -> bool:
    return (
        one.code == other.code
        and one.placement == other.placement
        and one.weights.keys() == other.weights.keys()
        and all(np.array_equal(one.weights[name], other.weights[name]) for name in one.weights)
    )


def test_a_build_from_cached_kernels_is_the_same(
    generated: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = parse_target("cpu")
    first = target.lower(graph())
    made = len(generated)
    assert made >= 3
    assert same(target.lower(graph()), first)
    assert len(generated) == made
    monkeypatch.setenv(SIZE_VARIABLE, "0")
    assert same(target.lower(graph()), first)
    assert len(generated) == 2 * made


def test_damaged_kernels_are_generated_again(generated: list[str], tmp_path: Path) -> None:
    target = parse_target("cpu")
    first = target.lower(graph())
    made = len(generated)
    damaged, *_ = (tmp_path / "cache").rglob("*.kernel")
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert same(target.lower(graph()), first)
    assert generated[made:] == [damaged.stem]


def test_what_stays_as_plain_loops_is_said_of_cached_kernels_too(
    generated: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise NotPlainError

    monkeypatch.setattr(kernels, "write_plain", refuse)
    target = parse_target("cpu")
    first = target.lower(graph())
    assert first.placement["cpu"]["unscheduled"]
    made = len(generated)
    assert same(target.lower(graph()), first)
    assert len(generated) == made
