"""What a target computes in which type: targets say it, passes place types by it.

Passes know no targets. A target hands its arithmetic over, and a pass that chooses types asks it
what an operator means there. An operator that a profile does not name stays float.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping


class Treatment(enum.Enum):
    """How an operator takes part in integer arithmetic.

    Attributes:
        LINEAR: Multiplies by integer weights; its output is float until it is quantized.
        SAME_GRID: Moves or selects values; the output has the grid of the input.
        OWN_GRID: Reads integers, and its output has a grid of its own.
        EPILOGUE: Element-wise in float, in the kernel of what is before it.
        RESIDUAL: An element-wise sum: the operand that the kernel computes itself is float, the
            other one is read as integers.
        GATE: A product of a tensor in integers with a float factor per channel.
    """

    LINEAR = "linear"
    SAME_GRID = "same grid"
    OWN_GRID = "own grid"
    EPILOGUE = "epilogue"
    RESIDUAL = "residual"
    GATE = "gate"


@dataclasses.dataclass(frozen=True)
class IntegerProfile:
    """What a target computes in integers.

    Attributes:
        treatments: Operator (of the default domain) to its part in integer arithmetic.
        float_results: Operators whose result stays in memory as float for readers that do not
            multiply it: a residual sum of a transformer reads the normalized float.
        signed: Activations are int8 rather than uint8.
        activation_bits: Widths of activations that it computes with.
        spatial_axes: Of images that it convolves in integers: sequences have one, volumes three.
        every_edge: Both operands of sums and products, and all results, are integers: for a
            machine that has no float arithmetic between two layers.
    """

    treatments: Mapping[str, Treatment]
    float_results: frozenset[str] = frozenset()
    signed: bool = False
    activation_bits: frozenset[int] = frozenset({8})
    spatial_axes: frozenset[int] = frozenset({1, 2})
    every_edge: bool = False

    def treatment(self, op_type: str) -> Treatment | None:
        """The operator's part, or None where it stays float."""
        return self.treatments.get(op_type)


def treatment_table(groups: Mapping[Treatment, tuple[str, ...]]) -> dict[str, Treatment]:
    """Operator to treatment, from the operators of each treatment."""
    return {op_type: kind for kind, op_types in groups.items() for op_type in op_types}


# Operators that move or select values.
MOVES = (
    "MaxPool", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split",
    "Identity", "Pad", "Concat", "DepthToSpace", "SpaceToDepth",
)  # fmt: skip
# Bounds are applied where integers are written; other functions are looked up by the integer.
BOUNDS = ("Relu", "Clip")
FUNCTIONS = (
    "LeakyRelu", "HardSwish", "HardSigmoid", "Sigmoid", "Swish", "Gelu", "Elu", "Tanh", "Softplus",
    "Mish", "PRelu",
)  # fmt: skip

# A machine that multiplies integers, and whose kernels compute in float what follows a product.
FLOAT_EPILOGUES = IntegerProfile(
    treatments=treatment_table(
        {
            Treatment.LINEAR: ("Conv", "Gemm", "MatMul"),
            Treatment.SAME_GRID: MOVES,
            Treatment.OWN_GRID: ("AveragePool", "GlobalAveragePool", "ReduceMean"),
            Treatment.EPILOGUE: (*BOUNDS, *FUNCTIONS),
            Treatment.RESIDUAL: ("Add",),
            Treatment.GATE: ("Mul",),
        }
    ),
    float_results=frozenset({"LayerNormalization", "RMSNormalization", "SkipLayerNormalization"}),
)


@dataclasses.dataclass(frozen=True)
class Arithmetic:
    """What a target computes in which type.

    Attributes:
        integers: What it computes in integers.
        sixteen_bits: By type, ``bf16`` or ``fp16``: the operators that it multiplies in it, with
            sums in float32. Where there are none, 16 bits are of use for weights alone.
        by_constants: Of these operators, those that it multiplies so only by constants.
    """

    integers: IntegerProfile = FLOAT_EPILOGUES
    sixteen_bits: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    by_constants: frozenset[str] = frozenset()
