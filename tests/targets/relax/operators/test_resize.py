"""Resize agrees with ONNX Runtime at every size, also where a scaled size is rounded."""

from __future__ import annotations

import numpy as np
import pytest

from tests.targets.cpu.conftest import Compile
from tests.targets.relax.sizes import assert_same, assert_same_at, parse

SIZES = [{"H": h, "W": w} for h, w in ((1, 2), (5, 5), (7, 9), (16, 8), (33, 17))]
# Mode, and the further attributes.
FORMS = [
    ("linear", 'coordinate_transformation_mode = "half_pixel"'),
    ("linear", 'coordinate_transformation_mode = "align_corners"'),
    ("linear", 'coordinate_transformation_mode = "pytorch_half_pixel"'),
    ("linear", 'coordinate_transformation_mode = "half_pixel_symmetric"'),
    ("nearest", 'coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"'),
    ("nearest", 'coordinate_transformation_mode = "half_pixel"'),
    ("nearest", 'coordinate_transformation_mode = "half_pixel", nearest_mode = "ceil"'),
    ("cubic", 'coordinate_transformation_mode = "half_pixel"'),
    ("cubic", 'coordinate_transformation_mode = "half_pixel", exclude_outside = 1'),
]


@pytest.mark.parametrize(
    "scale",
    [pytest.param(0.5, marks=pytest.mark.slow), 1.5, pytest.param(2.0, marks=pytest.mark.slow)],
)
def test_scales_of_open_sizes(compile_for_cpu: Compile, scale: float) -> None:
    outputs = ", ".join(f"float[1,2,P{at},Q{at}] y{at}" for at in range(len(FORMS)))
    nodes = " ".join(
        f'y{at} = Resize <mode = "{mode}", {rest}> (x, , s)'
        for at, (mode, rest) in enumerate(FORMS)
    )
    text = f"""g (float[1,2,H,W] x) => ({outputs}) {{
      s = Constant<value = float[4] {{1.0, 1.0, {scale}, {scale}}}>() {nodes} }}"""
    assert_same_at(compile_for_cpu, text, SIZES)


def test_sizes_computed_or_given_when_the_model_runs(compile_for_cpu: Compile) -> None:
    model = parse("""g (float[1,2,H,W] x, float[1,2,A,B] t, int64[4] n, float[4] s)
      => (float[1,2,P,Q] y, float[1,2,R,S] z, float[1,2,T,U] w, float[1,2,V,X] v) {
        shape = Shape(t) y = Resize<mode = "linear">(x, , , shape)
        z = Resize<mode = "nearest">(x, , , n) w = Resize<mode = "linear">(x, , s)
        v = Resize<mode = "cubic">(x, , , n) }""")
    compiled = compile_for_cpu(model)
    generator = np.random.default_rng(0)
    cases = (((4, 5), (7, 3), 1.3), ((3, 3), (3, 3), 1.0), ((5, 2), (2, 9), 0.6))
    for (h, w), (a, b), scale in cases:
        feeds = {
            "x": generator.normal(size=(1, 2, h, w)).astype(np.float32),
            "t": np.zeros((1, 2, a, b), np.float32),
            "n": np.array([1, 2, b, a]),
            "s": np.array([1, 1, scale, 2], np.float32),
        }
        assert_same(model, compiled, feeds)


def test_one_and_three_axes(compile_for_cpu: Compile) -> None:
    text = """g (float[1,2,H] x, float[1,2,3,W,H] t) => (float[1,2,P] y, float[1,2,Q,R,S] z) {
      s = Constant<value = float[3] {1.0, 1.0, 1.7}>()
      r = Constant<value = float[5] {1.0, 1.0, 2.0, 1.5, 0.8}>()
      y = Resize<mode = "linear">(x, , s)
      z = Resize<mode = "nearest">(t, , r) }"""
    assert_same_at(compile_for_cpu, text, SIZES[1:3])


def test_a_region_of_interest(compile_for_cpu: Compile) -> None:
    text = """g (float[1,1,H,W] x) => (float[1,1,3,3] y) {
      roi = Constant<value = float[8] {0.0, 0.0, 0.4, 0.6, 1.0, 1.0, 1.2, 1.7}>()
      n = Constant<value = int64[4] {1, 1, 3, 3}>()
      y = Resize<mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize",
        extrapolation_value = 10.0>(x, roi, , n) }"""
    assert_same_at(compile_for_cpu, text, SIZES[1:4])
