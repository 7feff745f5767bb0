"""How far rounding alone moves a model's outputs: what no implementation can be held below.

Where two nearly equal numbers are subtracted, such as in E[x²] - E[x]², the difference is made of
the rounding of both, and a division by it makes that the result. Two right implementations then
differ by more than any fixed tolerance. The model says itself by how much: each float that it
computes from its inputs is multiplied by a number next to one, as if it had been rounded otherwise.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import onnx_ir as ir

from ingot.compiler.reference_samples import Sample, depending_values
from ingot.errors import IngotError
from ingot.onnx_graph.edits import Names, add_initializer
from ingot.passes.record import TensorDifference
from ingot.reference.session import Array, Reference

_COPIES = 4
# Root mean squares of an output's differences: one seldom falls so far above all of the copies'.
_SPARE = 2.0
# Half a unit in the last place of the numbers just below one.
_HALF_UNITS = {ir.DataType.FLOAT: 2.0**-25, ir.DataType.FLOAT16: 2.0**-12}


@dataclasses.dataclass(frozen=True)
class Noise:
    """The differences that rounding makes in one output.

    Attributes:
        largest: The largest of an element.
        rms: The root mean square over the elements, of the copy where it is largest.
    """

    largest: float
    rms: float

    def explains(self, expected: Array, actual: Array) -> bool:
        """Whether two results differ by no more than rounding makes of them."""
        found = _noise(expected, actual)
        return found.largest <= _SPARE * self.largest and found.rms <= _SPARE * self.rms


def rounding_noise(model: ir.Model, sample: Sample) -> dict[str, Noise]:
    """Measures by how much rounding moves each output of a model on one sample.

    Args:
        model: The model.
        sample: A run of it.

    Returns:
        The noise by output; empty where the model does not run when it is rounded otherwise.
    """
    worst: dict[str, Noise] = {}
    for seed in range(_COPIES):
        try:
            outputs = Reference(_rounded_otherwise(model, seed)).run(sample.inputs)
        except IngotError:
            return {}
        for name, expected in sample.outputs.items():
            actual = outputs[name]
            if not isinstance(expected, np.ndarray) or expected.dtype.kind in "OUSc":
                continue
            if expected.shape != actual.shape:
                continue
            found = _noise(expected, actual)
            known = worst.get(name, Noise(0.0, 0.0))
            worst[name] = Noise(max(known.largest, found.largest), max(known.rms, found.rms))
    return worst


def explained_by_rounding(
    difference: TensorDifference, noise: dict[str, Noise], expected: Array, actual: Array
) -> bool:
    """Whether a difference of an output is within what rounding makes of the model itself."""
    found = noise.get(difference.tensor)
    finite = np.isfinite(difference.max_abs_error)
    return (
        not difference.detail
        and bool(finite)
        and found is not None
        and (found.explains(expected, actual))
    )


def _noise(expected: Array, actual: Array) -> Noise:
    left, right = expected.astype(np.float64), actual.astype(np.float64)
    with np.errstate(invalid="ignore"):
        error = np.where(left == right, 0.0, np.abs(left - right))
    error = error[np.isfinite(error)]
    if not error.size:
        return Noise(0.0, 0.0)
    return Noise(float(error.max()), float(np.sqrt((error**2).mean())))


def _rounded_otherwise(model: ir.Model, seed: int) -> ir.Model:
    """A copy whose floats are multiplied by numbers next to one; what shapes are made of is not."""
    copy = model.clone()
    names = Names(copy)
    generator = np.random.default_rng(seed)
    computed = depending_values(copy.graph)
    for node in list(copy.graph):
        for value in node.outputs:
            unit = _HALF_UNITS.get(value.dtype) if value.dtype is not None else None
            if unit is None or value not in computed or value.is_graph_output() or not value.uses():
                continue
            assert value.dtype is not None
            number = np.array(1 + unit * generator.choice([-4, -2, 4, 8]), value.dtype.numpy())
            factor = add_initializer(copy.graph, names, f"{value.name}_factor", number)
            name = factor.name
            scaling = ir.Node("", "Mul", [None, factor], name=names.fresh(f"{name}/Mul"))
            scaled = scaling.outputs[0]
            scaled.name, scaled.type, scaled.shape = (
                names.fresh(f"{name}d"),
                value.type,
                value.shape,
            )
            value.replace_all_uses_with(scaled)
            scaling.replace_input_with(0, value)
            copy.graph.insert_after(node, scaling)
    return copy
