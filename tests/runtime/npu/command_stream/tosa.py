"""Small TOSA graphs for these tests: built, compiled by Vela, and run by the reference model."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ts = pytest.importorskip("tosa_serializer", reason="needs the extra: pip install ingot[npu]")
regor = pytest.importorskip("ethosu.regor", reason="needs the extra: pip install ingot[npu]")
reference_model = pytest.importorskip(
    "tosa_reference_model", reason="needs the extra: pip install ingot[npu]"
)

DTYPES = {
    "int8": ts.DType.INT8,
    "uint8": ts.DType.INT8,
    "int16": ts.DType.INT16,
    "int32": ts.DType.INT32,
    "int48": ts.DType.INT48,
}
NO_NAN = ts.NanPropagationMode.PROPAGATE


@dataclass(frozen=True)
class Value:
    """A tensor of a graph under construction."""

    tensor: Any
    shape: tuple[int, ...]
    dtype: str

    @property
    def name(self) -> str:
        return str(self.tensor.name)


def attribute(operator: str, *arguments: Any) -> Any:
    made = ts.TosaSerializerAttribute()
    getattr(made, f"{operator}Attribute")(*arguments)
    return made


@dataclass
class Graph:
    """Builds a TOSA 1.0 graph one operator at a time; every method returns the result's Value."""

    serializer: Any = field(
        default_factory=lambda: ts.TosaSerializer(
            "", targetMajor=1, targetMinor=0, targetPatch=0, targetDraft=False
        )
    )
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)

    def input(self, shape: tuple[int, ...], dtype: str = "int8") -> Value:
        value = Value(self.serializer.addPlaceholder(list(shape), DTYPES[dtype]), shape, dtype)
        self.inputs.append(value)
        return value

    def const(self, array: np.ndarray, dtype: str | None = None) -> Value:
        kind = dtype or str(array.dtype)
        values = array.astype(np.int64 if kind == "int48" else array.dtype)
        tensor = self.serializer.addConst(list(array.shape), DTYPES[kind], values)
        return Value(tensor, tuple(array.shape), kind)

    def shape(self, values: tuple[int, ...]) -> Value:
        array = np.array(values, np.int64)
        tensor = self.serializer.addConst([len(values)], ts.DType.SHAPE, array)
        return Value(tensor, (len(values),), "shape")

    def op(
        self, code: str, operands: list[Value], made: Any, shape: tuple[int, ...], dtype: str
    ) -> Value:
        result = self.serializer.addIntermediate(list(shape), DTYPES[dtype])
        self.serializer.addOperator(
            getattr(ts.Op, code), [operand.name for operand in operands], [result.name], made
        )
        return Value(result, shape, dtype)

    def output(self, *values: Value) -> Graph:
        for value in values:
            self.serializer.currRegion.basicBlocks[0].addOutput(value.name)
            self.outputs.append(value)
        return self

    def scalar(self, value: int, dtype: str) -> Value:
        return self.const(np.array([value], "int64" if dtype == "int48" else dtype), dtype)

    def conv2d(self, x: Value, weights: np.ndarray, bias: np.ndarray, **window: Any) -> Value:
        """CONV2D with OHWI weights; the window as in ``convolution``."""
        return self.convolution("Conv2d", x, weights, bias, weights.shape[0], **window)

    def depthwise(self, x: Value, weights: np.ndarray, bias: np.ndarray, **window: Any) -> Value:
        """DEPTHWISE_CONV2D with HWCM weights; the window as in ``convolution``."""
        channels = weights.shape[2] * weights.shape[3]
        return self.convolution("DepthwiseConv2d", x, weights, bias, channels, **window)

    def convolution(
        self,
        operator: str,
        x: Value,
        weights: np.ndarray,
        bias: np.ndarray,
        channels: int,
        *,
        zero_point: int = 0,
        pad: tuple[int, int, int, int] = (0, 0, 0, 0),
        stride: tuple[int, int] = (1, 1),
        dilation: tuple[int, int] = (1, 1),
    ) -> Value:
        """Conv2d or DepthwiseConv2d; pad is top, bottom, left, right."""
        kernel = weights.shape[:2] if operator == "DepthwiseConv2d" else weights.shape[1:3]
        height, width = (
            convolved(
                x.shape[1 + axis],
                kernel[axis],
                pad[2 * axis : 2 * axis + 2],
                stride[axis],
                dilation[axis],
            )
            for axis in range(2)
        )
        window = (list(pad), list(stride), list(dilation))
        shape = (x.shape[0], height, width, channels)
        return self._sums(operator, x, weights, bias, zero_point, window, shape)

    def transpose_conv2d(
        self,
        x: Value,
        weights: np.ndarray,
        bias: np.ndarray,
        *,
        zero_point: int = 0,
        pad: tuple[int, int, int, int] = (0, 0, 0, 0),
        stride: tuple[int, int] = (1, 1),
    ) -> Value:
        """TRANSPOSE_CONV2D with OHWI weights; pad is the output's."""
        height, width = (
            (x.shape[1 + axis] - 1) * stride[axis]
            + sum(pad[2 * axis : 2 * axis + 2])
            + weights.shape[1 + axis]
            for axis in range(2)
        )
        window = (list(pad), list(stride))
        shape = (x.shape[0], height, width, weights.shape[0])
        return self._sums("TransposeConv2d", x, weights, bias, zero_point, window, shape)

    def _sums(
        self,
        operator: str,
        x: Value,
        weights: np.ndarray,
        bias: np.ndarray,
        zero_point: int,
        window: tuple[list[int], ...],
        shape: tuple[int, ...],
    ) -> Value:
        accumulator = "int48" if x.dtype == "int16" else "int32"
        operands = [
            x,
            self.const(weights),
            self.const(bias, accumulator),
            self.scalar(zero_point, x.dtype),
            self.scalar(0, "int8"),
        ]
        made = attribute(operator, *window, False, DTYPES[accumulator])
        code = {
            "Conv2d": "CONV2D",
            "DepthwiseConv2d": "DEPTHWISE_CONV2D",
            "TransposeConv2d": "TRANSPOSE_CONV2D",
        }[operator]
        return self.op(code, operands, made, shape, accumulator)

    def rescale(
        self,
        x: Value,
        multipliers: int | np.ndarray,
        shifts: int | np.ndarray,
        *,
        input_zero_point: int = 0,
        output_zero_point: int = 0,
        dtype: str = "int8",
        rounding: str = "SINGLE_ROUND",
        scale32: bool = True,
    ) -> Value:
        multiplier = np.atleast_1d(np.asarray(multipliers, np.int32 if scale32 else np.int16))
        shift = np.atleast_1d(np.asarray(shifts, np.int8))
        operands = [
            x,
            self.const(multiplier),
            self.const(shift),
            self.scalar(input_zero_point, x.dtype),
            self.scalar(output_zero_point, dtype),
        ]
        made = attribute(
            "Rescale",
            scale32,
            getattr(ts.RoundingMode, rounding),
            multiplier.size > 1,
            x.dtype == "uint8",
            dtype == "uint8",
        )
        return self.op("RESCALE", operands, made, x.shape, dtype)

    def clamp(self, x: Value, low: int, high: int) -> Value:
        limits = (np.array([limit], x.dtype).tobytes() for limit in (low, high))
        made = attribute("Clamp", *(list(limit) for limit in limits), NO_NAN)
        return self.op("CLAMP", [x], made, x.shape, x.dtype)

    def binary(self, code: str, a: Value, b: Value, dtype: str | None = None) -> Value:
        """ADD, SUB, MUL, MINIMUM, MAXIMUM, ARITHMETIC_RIGHT_SHIFT or LOGICAL_LEFT_SHIFT."""
        shape = tuple(max(pair) for pair in zip(a.shape, b.shape, strict=True))
        operands = [a, b]
        match code:
            case "MUL":
                operands.append(self.scalar(0, "int8"))
                made = attribute("Mul")
            case "MINIMUM" | "MAXIMUM":
                made = attribute(code.capitalize(), NO_NAN)
            case "ARITHMETIC_RIGHT_SHIFT":
                made = attribute("ArithmeticRightShift", True)
            case "LOGICAL_LEFT_SHIFT":
                made = attribute("LogicalLeftShift")
            case _:
                made = attribute(code.capitalize())
        return self.op(code, operands, made, shape, dtype or a.dtype)

    def table(self, x: Value, values: np.ndarray) -> Value:
        result = "int8" if x.dtype == "int8" else "int32"
        return self.op("TABLE", [x, self.const(values)], attribute("Table"), x.shape, result)

    def max_pool(
        self,
        x: Value,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        pad: tuple[int, int, int, int] = (0, 0, 0, 0),
    ) -> Value:
        made = attribute("MaxPool2d", list(kernel), list(stride), list(pad), NO_NAN)
        return self.op("MAX_POOL2D", [x], made, pooled(x, kernel, stride, pad), x.dtype)

    def avg_pool(
        self,
        x: Value,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        pad: tuple[int, int, int, int] = (0, 0, 0, 0),
        zero_points: tuple[int, int] = (0, 0),
    ) -> Value:
        made = attribute("AvgPool2d", list(kernel), list(stride), list(pad), ts.DType.INT32)
        operands = [x, *(self.scalar(point, x.dtype) for point in zero_points)]
        return self.op("AVG_POOL2D", operands, made, pooled(x, kernel, stride, pad), x.dtype)

    def transpose(self, x: Value, order: tuple[int, ...]) -> Value:
        shape = tuple(x.shape[axis] for axis in order)
        return self.op("TRANSPOSE", [x], attribute("Transpose", list(order)), shape, x.dtype)

    def reshape(self, x: Value, shape: tuple[int, ...]) -> Value:
        return self.op("RESHAPE", [x, self.shape(shape)], attribute("Reshape"), shape, x.dtype)

    def concat(self, values: list[Value], axis: int) -> Value:
        shape = list(values[0].shape)
        shape[axis] = sum(value.shape[axis] for value in values)
        made = attribute("Concat", axis)
        return self.op("CONCAT", values, made, tuple(shape), values[0].dtype)

    def slice(self, x: Value, start: tuple[int, ...], size: tuple[int, ...]) -> Value:
        operands = [x, self.shape(start), self.shape(size)]
        return self.op("SLICE", operands, attribute("Slice"), size, x.dtype)

    def pad(self, x: Value, amounts: tuple[tuple[int, int], ...], value: int) -> Value:
        operands = [
            x,
            self.shape(tuple(amount for pair in amounts for amount in pair)),
            self.scalar(value, x.dtype),
        ]
        shape = tuple(size + sum(pair) for size, pair in zip(x.shape, amounts, strict=True))
        return self.op("PAD", operands, attribute("Pad"), shape, x.dtype)

    def reduce_sum(self, x: Value, axis: int) -> Value:
        shape = tuple(1 if index == axis else size for index, size in enumerate(x.shape))
        return self.op("REDUCE_SUM", [x], attribute("ReduceSum", axis), shape, x.dtype)

    def matmul(self, a: Value, b: Value, zero_points: tuple[int, int] = (0, 0)) -> Value:
        operands = [a, b, *(self.scalar(point, a.dtype) for point in zero_points)]
        shape = (a.shape[0], a.shape[1], b.shape[2])
        dtype = "int48" if a.dtype == "int16" else "int32"
        return self.op("MATMUL", operands, attribute("MatMul"), shape, dtype)

    def resize(
        self,
        x: Value,
        mode: str,
        scale: tuple[int, int, int, int],
        offset: tuple[int, int] = (0, 0),
        border: tuple[int, int] = (0, 0),
    ) -> Value:
        """RESIZE; scale is y numerator, y denominator, x numerator, x denominator."""
        sizes = (
            ((x.shape[1 + axis] - 1) * scale[2 * axis] - offset[axis] + border[axis])
            // scale[2 * axis + 1]
            + 1
            for axis in range(2)
        )
        shape = (x.shape[0], *sizes, x.shape[3])
        operands = [x, self.shape(scale), self.shape(offset), self.shape(border)]
        dtype = x.dtype if mode == "NEAREST" else {"int8": "int32", "int16": "int48"}[x.dtype]
        made = attribute("Resize", getattr(ts.ResizeMode, mode))
        return self.op("RESIZE", operands, made, shape, dtype)

    def unary(self, code: str, x: Value) -> Value:
        """ABS or CLZ."""
        return self.op(code, [x], attribute(code.capitalize()), x.shape, x.dtype)

    def serialize(self) -> bytes:
        return bytes(self.serializer.serialize())


def convolved(size: int, kernel: int, pad: tuple[int, ...], stride: int, dilation: int) -> int:
    return (size + sum(pad) - (kernel - 1) * dilation - 1) // stride + 1


def pooled(
    x: Value, kernel: tuple[int, int], stride: tuple[int, int], pad: tuple[int, int, int, int]
) -> tuple[int, ...]:
    height, width = (
        convolved(x.shape[1 + axis], kernel[axis], pad[2 * axis : 2 * axis + 2], stride[axis], 1)
        for axis in range(2)
    )
    return (x.shape[0], height, width, x.shape[3])


ACCELERATORS = {
    "ethos-u55-32": ("EthosU55", 32, "Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "ethos-u55-64": ("EthosU55", 64, "Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "ethos-u55-128": ("EthosU55", 128, "Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "ethos-u55-256": ("EthosU55", 256, "Ethos_U55_High_End_Embedded", "Shared_Sram"),
    "ethos-u65-256": ("EthosU65", 256, "Ethos_U65_High_End", "Dedicated_Sram_384KB"),
}


@lru_cache
def configurations() -> str:
    import ethosu.vela

    folder = Path(ethosu.vela.__file__).parent.parent / "config_files" / "Arm"
    return (folder / "vela.ini").read_text(encoding="utf-8")


def vela(graph: bytes, accelerator: str, options: str = "") -> Any:
    """Vela's CompiledRawModel of a serialized graph."""
    architecture, macs, system, memory = ACCELERATORS[accelerator]
    arena = 393216 if "384KB" in memory else 2**31 - 1
    system_config = (
        f"[architecture]\nmacs={macs}\ncores=1\n"
        f"[vela]\nsystem_config_name={system}\nmemory_mode_name={memory}\n{configurations()}"
    )
    compiler = (
        f"\n[compiler]\noutput_format=Raw\n{options}\n"
        f"[scheduler]\noptimize=Performance\narena_size_limit={arena}\n"
    )
    return regor.compile(architecture, graph, "TOSA", system_config, options=compiler)


def reference(graph: bytes, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """The TOSA reference model's outputs."""
    outputs, status = reference_model.run(graph, inputs)
    assert status == reference_model.GraphStatus.TOSA_VALID, status
    return list(outputs)
