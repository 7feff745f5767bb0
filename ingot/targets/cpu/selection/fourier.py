"""DFT and STFT become one kernel of Ingot's own, its twiddle factors constants."""

from __future__ import annotations

from tvm import relax

from ingot.targets.cpu.kernels.fourier.fourier import Problem, fourier
from ingot.targets.cpu.selection.base import Selection, Selector
from ingot.targets.cpu.selection.dimensions import Dimensions, shape_of
from ingot.targets.relax.fourier import FOURIER, read_fourier


def select_fourier(selection: Selection, call: relax.Call) -> relax.Expr | None:
    """Selects the kernel for Fourier transforms."""
    transform, data, window = read_fourier(call)
    dimensions = Dimensions()
    problem = Problem(
        transform,
        dimensions.all_of(shape_of(data) or []),
        dimensions.all_of(shape_of(call) or []),
        windowed=window is not None,
    )
    operands = [data] if window is None else [data, window]
    return selection.call(
        fourier(problem, selection.cpu),
        "fourier",
        [*operands, relax.const(problem.table())],
        call.ty,
    )


FOURIER_SELECTORS: dict[str, Selector] = {FOURIER: select_fourier}
