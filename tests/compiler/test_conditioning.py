"""By how much rounding moves a model's outputs, and what that explains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from ingot.compiler.build import compile_model
from ingot.compiler.conditioning import rounding_noise
from ingot.compiler.reference_samples import reference_samples
from tests.graphs import parse

WELL = """<ir_version: 10, opset_import: ["":21]>
g (float[N, 8] x) => (float[N, 8] y, float[M] z) <int64[1] all = {-1}> {
  a = Sigmoid(x)  b = Mul(a, x)  y = Neg(b)
  s = Shape(x)  f = Cast<to = 1>(s)  h = Mul(f, f)  i = Cast<to = 7>(h)  r = ReduceProd(i)
  c = ConstantOfShape(s)  z = Reshape(c, all)
}"""

# A GELU of nearly equal values, spelled out, before a norm by E[x²] - E[x]².
VARIANCE = """<ir_version: 10, opset_import: ["":21]>
g (float[1, 64] xr) => (float[1, 64] y)
<float tiny = {0.003}, float ten = {1.5}, float k = {0.044715}, float s = {0.7978845608},
 float one = {1}, float half = {0.5}, float zero = {0}, float eps = {1e-6}, int64[1] last = {-1}> {
  x0 = Mul(xr, tiny)  x = Add(x0, ten)
  x2 = Mul(x, x)  x3 = Mul(x2, x)  kx = Mul(x3, k)  in = Add(x, kx)  si = Mul(in, s)
  t = Tanh(si)  t1 = Add(t, one)  t2 = Mul(t1, half)
  [gelu] g = Mul(x, t2)
  m = ReduceMean(g, last)  gg = Mul(g, g)  mm = ReduceMean(gg, last)  m2 = Mul(m, m)
  var = Sub(mm, m2)  v0 = Max(var, zero)  ve = Add(v0, eps)  sd = Sqrt(ve)
  d = Sub(g, m)  y = Div(d, sd)
}"""


def noise_of(model: ir.Model) -> dict[str, float]:
    sample = reference_samples(model).samples[0]
    scales = {name: np.abs(array).max() for name, array in sample.outputs.items()}
    return {
        name: found.largest / max(scales[name], 1e-9)
        for name, found in rounding_noise(model, sample).items()
    }


def test_rounding_moves_a_well_conditioned_model_by_about_itself() -> None:
    noise = noise_of(parse(WELL))
    assert 0 < noise["y"] < 3e-6
    assert noise["z"] == 0  # what sizes are computed from is left alone


def test_cancellation_magnifies_it() -> None:
    assert noise_of(parse(VARIANCE))["y"] > 1e-3


def test_a_model_that_magnifies_rounding_compiles_without_the_rewrite(tmp_path: Path) -> None:
    artifact = compile_model(ir.to_proto(parse(VARIANCE)), tmp_path / "m.ingot")
    (note,) = artifact.manifest.source["notes"]
    assert note.startswith("fusion.gelu, 'gelu': left as it was: it rounds otherwise")
    outcome = artifact.manifest.measured["verification"]
    assert outcome["magnified"]["y"] == outcome["max_rel_error"]


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_what_rounding_does_not_explain(shift: float) -> None:
    model = parse(VARIANCE)
    sample = reference_samples(model).samples[0]
    noise = rounding_noise(model, sample)["y"]
    expected = sample.outputs["y"]
    assert noise.explains(expected, expected + np.float32(shift)) is (shift == 0)
