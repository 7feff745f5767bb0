"""Which values are integers or bfloat16 that a kernel can read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import pytest
from tvm import relax

from ingot.targets.cpu.machine import CpuDescription, describe_cpu
from ingot.targets.cpu.selection.base import Selection
from ingot.targets.cpu.selection.words.sources import Words, dequantized_source, word_source
from tests.targets.cpu.processors import AVX2, AVX512

Step = Callable[[relax.Expr], relax.Expr]
T = TypeVar("T")


def sourced(
    steps: Sequence[Step],
    read: Callable[[Selection, relax.Expr], T | None],
    *,
    of: str = "uint8",
    cpu: CpuDescription = AVX2,
) -> T | None:
    """What one of the functions says of a value made of others in some steps."""
    values = relax.Var("values", relax.TensorType((1, 4, 5, 3), of))
    builder = relax.BlockBuilder()
    definitions: dict[relax.Var, relax.Expr] = {}
    with builder.function("main", [values]):
        with builder.dataflow():
            value: relax.Expr = values
            for step in steps:
                expression = step(value)
                value = builder.emit(expression)
                definitions[value] = expression
            selection = Selection(builder, cpu, definitions.get, lambda _: 1)
            found = read(selection, value)
            result = builder.emit_output(value)
        builder.emit_func_output(result)
    return found


def cast(dtype: str) -> Step:
    return lambda value: relax.op.astype(value, dtype)


def less(zero_point: float, dtype: str) -> Step:
    return lambda value: relax.op.subtract(value, relax.const(np.asarray(zero_point, dtype)))


def times(scale: float) -> Step:
    return lambda value: relax.op.multiply(value, relax.const(np.asarray(scale, "float32")))


def permuted(*axes: int) -> Step:
    return lambda value: relax.op.permute_dims(value, list(axes))


def by_bytes(selection: Selection, value: relax.Expr) -> Words | None:
    return word_source(selection, value, np.ones((3, 8), "int16"))


def by_floats(weight: float) -> Callable[[Selection, relax.Expr], Words | None]:
    return lambda selection, value: word_source(
        selection, value, np.full((3, 8), weight, "float32")
    )


class TestBfloat16Source:
    @pytest.mark.parametrize("rearranged", [False, True])
    def test_found(self, rearranged: bool) -> None:
        steps = [cast("float32"), *([permuted(0, 3, 1, 2)] if rearranged else [])]
        found = sourced(steps, by_floats(1.5), of="bfloat16", cpu=AVX512)
        assert found is not None
        assert (found.word, str(found.values.ty.dtype)) == ("bfloat16", "bfloat16")
        assert [int(size) for size in found.values.ty.shape] == (
            [1, 3, 4, 5] if rearranged else [1, 4, 5, 3]
        )

    @pytest.mark.parametrize(
        ("weight", "of", "cpu"),
        [
            pytest.param(1.001, "bfloat16", AVX512, id="weights that it does not hold"),
            pytest.param(1.5, "float16", AVX512, id="of float16"),
            pytest.param(
                1.5,
                "bfloat16",
                describe_cpu("icelake-server", threads=None),
                id="a processor without",
            ),
        ],
    )
    def test_not_found(self, weight: float, of: str, cpu: CpuDescription) -> None:
        assert sourced([cast("float32")], by_floats(weight), of=of, cpu=cpu) is None


class TestQuantizedSource:
    @pytest.mark.parametrize(
        ("steps", "zero_point", "channels_first"),
        [
            pytest.param([cast("int16"), less(7, "int16")], 7, False, id="with a zero point"),
            pytest.param([cast("int16")], 0, False, id="without"),
            pytest.param(
                [cast("int16"), less(255, "int16"), permuted(0, 3, 1, 2)], 255, False,
                id="rearranged",
            ),
            pytest.param(
                [cast("int16"), less(9, "int16"), permuted(0, 2, 3, 1)], 9, True,
                id="few channels, as they lie",
            ),
        ],
    )  # fmt: skip
    def test_found(self, steps: list[Step], zero_point: int, channels_first: bool) -> None:
        found = sourced(steps, by_bytes)
        assert found is not None
        assert (found.zero_point, found.channels_first) == (zero_point, channels_first)
        assert str(found.values.ty.dtype) == "uint8"

    @pytest.mark.parametrize(
        "steps",
        [
            pytest.param([cast("float32"), cast("int16")], id="of floats"),
            pytest.param([cast("int16"), lambda v: relax.op.add(v, v)], id="of a sum"),
            pytest.param([cast("int16"), lambda v: relax.op.subtract(v, v)], id="less no constant"),
        ],
    )
    def test_not_found(self, steps: list[Step]) -> None:
        assert sourced(steps, by_bytes) is None


class TestDequantizedSource:
    @pytest.mark.parametrize(
        ("steps", "zero_point", "scale"),
        [
            ([cast("float32"), less(7, "float32"), times(0.5)], 7, 0.5),
            ([cast("float32"), less(7, "float32")], 7, 1),
            ([cast("float32"), times(0.25)], 0, 0.25),
            ([cast("float32")], 0, 1),
        ],
    )
    def test_found(self, steps: list[Step], zero_point: int, scale: float) -> None:
        found = sourced(steps, dequantized_source)
        assert found is not None
        assert (found.zero_point, found.scale) == (zero_point, scale)
        assert isinstance(found.values, relax.Var)
        assert found.values.name == "values"

    @pytest.mark.parametrize(
        "steps",
        [
            pytest.param([cast("int16"), cast("float32")], id="of other integers"),
            pytest.param([cast("float32"), lambda v: relax.op.multiply(v, v)], id="by no constant"),
            pytest.param([cast("float32"), times(-1.0)], id="a maximum would be the minimum"),
            pytest.param(
                [cast("float32"), lambda v: relax.op.multiply(v, relax.const(np.ones(3, "f")))],
                id="by a scale per channel",
            ),
        ],
    )
    def test_not_found(self, steps: list[Step]) -> None:
        assert sourced(steps, dequantized_source) is None
