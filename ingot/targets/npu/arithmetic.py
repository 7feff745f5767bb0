"""What an Ethos-U computes in which type."""

from __future__ import annotations

from ingot.arithmetic import (
    BOUNDS,
    FUNCTIONS,
    MOVES,
    Arithmetic,
    IntegerProfile,
    Treatment,
    treatment_table,
)

# There is no float arithmetic between two layers: functions have grids of their own.
ARITHMETIC = Arithmetic(
    integers=IntegerProfile(
        treatments=treatment_table(
            {
                Treatment.LINEAR: ("Conv", "Gemm", "MatMul"),
                Treatment.SAME_GRID: (*MOVES, "Resize"),
                Treatment.OWN_GRID: ("AveragePool", "GlobalAveragePool", "ReduceMean", *FUNCTIONS),
                Treatment.EPILOGUE: BOUNDS,
                Treatment.RESIDUAL: ("Add", "Sub"),
                Treatment.GATE: ("Mul",),
            }
        ),
        signed=True,
        activation_bits=frozenset({8, 16}),
        every_edge=True,
    )
)
