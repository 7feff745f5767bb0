"""No size, axis, bound or box that a model is given reaches memory that is not a tensor's own."""

from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tests.guarded.checked import LEAST, MOST, Checked
from tests.guarded.process import Arrays, GuardedProcess
from tests.targets.relax.sizes import parse

SIZED = """sized (float[{K},{L}] x, int64[2] s_tile, int64[2] s_expand, int64[2] s_reshape,
    int64[2] s_filled, int64[4] s_pad, int64[4] s_edge, int64[1] s_begin, int64[1] s_end,
    int64[1] s_axis, int64[1] s_most, int64[2] s_parts, int64 s_first, int64 s_last, int64 s_step,
    int64 s_diagonal, int64 s_along, int64[1] s_summed, int64[1] s_dropped, int64[1] s_added,
    int64 s_depth, float[{M},1] column, int64[2] d, float[2] pair, float[1,2,{K},{L}] image,
    float[4] s_scales, int64[4] s_sizes, float[{B},4] s_boxes, int64[{B}] s_images)
  => (float[a0,a1] y0, float[b0,b1] y1, float[c0,c1] y2, float[d0,d1] y3, float[e0,e1] y4,
      float[f0,f1] y5, float[g0,g1] y6, float[h0,h1] y7, int64[h0,h1] z7, float[{K},j0] y8,
      float[{K},k0] z8, int64[l0] y9, float[{K},{L}] y10, float[{K},{L}] y11, float[n0,n1] y12,
      float[p0] y13, float[q0,q1,q2] y14, float[2,r0] y15, float[1,2,t0,t1] y16,
      float[1,2,u0,u1] y17, float[{B},2,2,3] y18) {{
    [tile] y0 = Tile(x, s_tile)
    [expand] y1 = Expand(column, s_expand)
    [reshape] y2 = Reshape(x, s_reshape)
    [filled] y3 = ConstantOfShape(s_filled)
    [pad] y4 = Pad(x, s_pad)
    [edge] y5 = Pad<mode = "edge">(x, s_edge)
    [cut] y6 = Slice(x, s_begin, s_end, s_axis)
    [most] y7, z7 = TopK(x, s_most)
    [parts] y8, z8 = Split<axis = 1>(x, s_parts)
    [range] y9 = Range(s_first, s_last, s_step)
    [diagonal] y10 = Trilu(x, s_diagonal)
    [along] y11 = CumSum(x, s_along)
    [summed] y12 = ReduceSum(x, s_summed)
    [dropped] y13 = Squeeze(column, s_dropped)
    [added] y14 = Unsqueeze(x, s_added)
    [depth] y15 = OneHot(d, s_depth, pair)
    [scales] y16 = Resize<mode = "linear">(image, , s_scales)
    [sizes] y17 = Resize(image, , , s_sizes)
    [boxes] y18 = RoiAlign<output_height = 2, output_width = 3>(image, s_boxes, s_images)
  }}"""
SIZES = {"K": 4, "L": 12, "M": 5, "B": 2}
# Where one of several values is looked at, another node may be the one that fails.
RUNS: dict[str, list[float]] = {
    "s_tile": [0, 1, 3, -1, 2**33, 2**61, MOST, LEAST],
    "s_expand": [0, 1, 5, 6, -1, 2**40, 2**62, MOST, LEAST],
    "s_reshape": [0, 1, -1, -2, 48, 3, 2**33, 2**60 + 4, MOST, LEAST],
    "s_filled": [0, 3, -1, 2**33, 2**62, MOST, LEAST],
    "s_pad": [0, 3, -1, -4, -5, 2**40, 2**61, MOST, LEAST],
    "s_edge": [0, 3, -1, -4, -5, 2**61, MOST, LEAST],
    "s_begin": [0, 2, 4, 5, -1, -4, -9, 2**40, MOST, LEAST],
    "s_end": [0, 2, 4, 5, -1, -4, -9, 2**40, MOST, LEAST],
    "s_axis": [0, 1, -1, -2, 2, -3, 2**32, MOST, LEAST],
    "s_most": [0, 1, 12, 13, -1, MOST, LEAST],
    "s_parts": [0, 12, 13, -1, 2**62, MOST, LEAST],
    "s_first": [0, 9, -9, 100],
    "s_last": [0, 9, -9, 100, 2**40, MOST],
    "s_step": [1, -1, 7, 0, 2**60],
    "s_diagonal": [0, 3, -3, 100, -100, 2**31, -(2**33), MOST, LEAST],
    "s_along": [0, 1, -1, -2, 2, -3, 2**32, MOST, LEAST],
    "s_summed": [0, 1, -1, -2, 2, -3, 2**32, MOST, LEAST],
    "s_dropped": [1, -1, 0, -2, 2, -3, 2**32, MOST, LEAST],
    "s_added": [0, 1, 2, -1, -3, 3, -4, 2**32, MOST, LEAST],
    "s_depth": [1, 3, 0, -1, 2**40, MOST, LEAST],
    "s_scales": [1, 2, 0.5, 0.01, 0, -1, np.nan, -np.inf],
    "s_sizes": [1, 2, 9, 0, -1, 2**50, MOST, LEAST],
    "s_boxes": [0, 1.5, -3, 7, -50, 90, np.nan, np.inf, -np.inf],
    "s_images": [0, 1, -1, 2**31, 2**32, MOST, LEAST],
}
# Which of the elements is replaced: scales and sizes are of height and width alone.
POSITIONS = {"s_scales": 2, "s_sizes": 3}


def _valid() -> Arrays:
    generator = np.random.default_rng(0)
    floats = {
        "x": (4, 12), "column": (5, 1), "pair": (2,), "image": (1, 2, 4, 12),
    }  # fmt: skip
    integers = {
        "s_tile": [2, 1], "s_expand": [1, 3], "s_reshape": [16, 3], "s_filled": [2, 3],
        "s_pad": [1, 0, 0, 2], "s_edge": [0, 1, 0, 0], "s_begin": [1], "s_end": [3],
        "s_axis": [0], "s_most": [2], "s_parts": [5, 7], "s_first": 0, "s_last": 5, "s_step": 2,
        "s_diagonal": 0, "s_along": 1, "s_summed": [1], "s_dropped": [1], "s_added": [0],
        "s_depth": 3, "d": [0, 2], "s_sizes": [1, 2, 3, 5], "s_images": [0, 0],
    }  # fmt: skip
    return {
        **{n: generator.normal(size=shape).astype(np.float32) for n, shape in floats.items()},
        **{name: np.array(value, np.int64) for name, value in integers.items()},
        "s_scales": np.array([1, 1, 2, 1], np.float32),
        "s_boxes": np.array([[0, 0, 8, 3], [1, 1, 5, 2]], np.float32),
    }


@pytest.fixture(
    scope="module",
    params=[pytest.param(False, marks=pytest.mark.slow), True],
    ids=["known", "symbolic"],
)
def sized(
    request: pytest.FixtureRequest,
    guarded: GuardedProcess,
    tmp_path_factory: pytest.TempPathFactory,
) -> Checked:
    names = {name: name if request.param else size for name, size in SIZES.items()}
    model = parse(SIZED.format(**names), opset=21)
    return Checked.compiled(model, tmp_path_factory.mktemp("sized"), guarded, _valid())


def test_valid_sizes(sized: Checked) -> None:
    assert isinstance(sized.assert_as_reference(sized.valid), dict)


@pytest.mark.parametrize("name", RUNS)
def test_sizes_around_the_bounds(sized: Checked, name: str) -> None:
    for value in RUNS[name]:
        sized.assert_as_reference(sized.with_value(name, POSITIONS.get(name, 0), value))


@pytest.mark.slow
@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(data=st.data())
def test_any_size(sized: Checked, data: st.DataObject) -> None:
    """Whatever it is, there is a result or an error, and no access outside."""
    name = data.draw(st.sampled_from(list(RUNS)))
    array = sized.valid[name]
    if array.dtype.kind == "f":
        value = data.draw(st.floats(width=32, min_value=-99, max_value=99))
    else:
        # In between there are results that take long, or more memory than there is.
        small, large = st.integers(-20, 20), st.integers(2**40, MOST)
        value = data.draw(small | large | large.map(lambda number: -number))
    position = data.draw(st.integers(0, array.size - 1))
    answer = sized.process.run(sized.path, sized.with_value(name, position, value))
    assert isinstance(answer, dict) or answer[0] == "InputError"
