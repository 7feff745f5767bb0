"""No index, length or position that a model is given reaches memory that is not a tensor's own."""

from __future__ import annotations

import hypothesis
import numpy as np
import onnx
import pytest
from hypothesis import strategies as st

from tests.guarded.checked import Checked, around
from tests.guarded.process import Arrays, GuardedProcess
from tests.targets.relax.sizes import parse

# Each node has indices of its own, so that an error tells which of them it is about.
INDEXED = """indexed (float[{K},{L}] x, int64[{N}] i_gather, int64[{N}] i_columns,
    int64[{N}] i_shifted, int64[{N}] i_largest, int64[{N}] i_chosen, int32[{N}] i_joined,
    int64[{K},{N}] i_elements, int64[{N},2] i_tuples, int64[{K},{N}] i_scatter,
    int64[{N},1] i_rows, float[{K},{N}] u, float[{N},{L}] v, int64[{N}] i_depth,
    int64[{L}] i_reverse, int64[{K},{N}] i_position, float[{K},2,{N},4] heads,
    float[{P},2] table, float[{K},2,{L},4] cache, float[{K},2,{N},4] fresh, int64[{K}] i_begin,
    int64[{K}] i_keys, float[{L},{K},3] steps, int32[{K}] i_steps, float[{K},2,2,2] pooled,
    int64[{K},2,2,2] i_unpool)
  => (float[{N},{L}] y0, float[{K},{N}] y1, float[{N},{L}] y2, float[{N},{L}] y3,
      float[{N},{L}] y4, float[W,{L}] y5, float[{K},{N}] y6, float[{N}] y7, float[{K},{L}] y8,
      float[{K},{L}] y9, float[{N},6] y10, float[{K},{L}] y11, float[{K},2,{N},4] y12,
      float[{K},2,{L},4] y13, float[{K},2,{N},4] y14, float[{L},1,{K},2] y15,
      float[{K},2,4,4] y16)
  <float[1,6,3] w = {{1}}, float[1,6,2] r = {{1}}>
  {{
    one = Constant<value = int64 {{1}}>() least = Constant<value = int64 {{-3}}>()
    six = Constant<value = int64 {{6}}>() pair = Constant<value = float[2] {{0, 1}}>()
    [gather] y0 = Gather(x, i_gather)
    [columns] y1 = Gather<axis = 1>(x, i_columns)
    s = Add(i_shifted, one) [shifted] y2 = Gather(x, s)
    m = Max(i_largest, least) [largest] y3 = Gather(x, m)
    f = Greater(i_chosen, one) c = Where(f, i_chosen, one) [chosen] y4 = Gather(x, c)
    t = Concat<axis = 0>(i_joined, i_joined) [joined] y5 = Gather(x, t)
    [elements] y6 = GatherElements<axis = 1>(x, i_elements)
    [tuples] y7 = GatherND(x, i_tuples)
    [scatter] y8 = ScatterElements<axis = 1>(x, i_scatter, u)
    [rows] y9 = ScatterND<reduction = "add">(x, i_rows, v)
    [depth] y10 = OneHot(i_depth, six, pair)
    [reverse] y11 = ReverseSequence(x, i_reverse)
    [position] y12 = RotaryEmbedding(heads, table, table, i_position)
    [begin] y13 = TensorScatter(cache, fresh, i_begin)
    [keys] y14 = Attention(heads, cache, cache, "", "", "", i_keys)
    [steps_] y15 = GRU<hidden_size = 2>(steps, w, r, "", i_steps)
    [unpool] y16 = MaxUnpool<kernel_shape = [2, 2], strides = [2, 2]>(pooled, i_unpool)
  }}"""
SIZES = {"K": 4, "L": 9, "N": 3, "P": 7}
BOUNDS = {
    "i_gather": (-4, 4), "i_columns": (-9, 9), "i_shifted": (-5, 3), "i_largest": (-4, 4),
    "i_chosen": (-4, 4), "i_joined": (-4, 4), "i_elements": (-9, 9), "i_tuples": (-4, 4),
    "i_scatter": (-9, 9), "i_rows": (-4, 4), "i_depth": (-6, 6), "i_reverse": (0, 5),
    "i_position": (0, 7), "i_begin": (0, 7), "i_keys": (0, 10), "i_steps": (0, 10),
    "i_unpool": (0, 128),
}  # fmt: skip


def _valid() -> Arrays:
    generator = np.random.default_rng(0)
    model = _model(symbolic=False)
    feeds = {}
    for value in model.graph.input:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if value.name in BOUNDS:
            low, high = BOUNDS[value.name]
            kind = np.int32 if value.name in ("i_joined", "i_steps") else np.int64
            feeds[value.name] = generator.integers(max(low, 0), high, shape).astype(kind)
        else:
            feeds[value.name] = generator.normal(size=shape).astype(np.float32)
    feeds["i_scatter"] = np.array([[0, 4, 8]] * 4)
    feeds["i_unpool"] = np.arange(32).reshape(4, 2, 2, 2) * 4
    return feeds


def _model(*, symbolic: bool) -> onnx.ModelProto:
    names = {name: name if symbolic else size for name, size in SIZES.items()}
    model = parse(INDEXED.format(**names), opset=24)
    generator = np.random.default_rng(1)
    for weight in model.graph.initializer:
        shape = tuple(weight.dims)
        array = generator.normal(size=shape).astype(np.float32)
        del weight.float_data[:]
        weight.raw_data = array.tobytes()
    return model


@pytest.fixture(scope="module", params=[False, True], ids=["known", "symbolic"])
def indexed(
    request: pytest.FixtureRequest,
    guarded: GuardedProcess,
    tmp_path_factory: pytest.TempPathFactory,
) -> Checked:
    folder = tmp_path_factory.mktemp("indexed")
    return Checked.compiled(_model(symbolic=request.param), folder, guarded, _valid())


def test_valid_indices(indexed: Checked) -> None:
    assert isinstance(indexed.assert_as_reference(indexed.valid), dict)


@pytest.mark.parametrize("name", BOUNDS)
def test_values_around_the_bounds(indexed: Checked, name: str) -> None:
    limits = np.iinfo(indexed.valid[name].dtype)
    for value in around(*BOUNDS[name]):
        if limits.min <= value <= limits.max:
            outcome = indexed.assert_as_reference(indexed.with_value(name, 0, value))
            if isinstance(outcome, str):
                assert f"'{name.removeprefix('i_')}" in outcome


@pytest.mark.slow
@hypothesis.settings(max_examples=300, deadline=None)
@hypothesis.given(data=st.data())
def test_any_value_of_any_index(indexed: Checked, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(list(BOUNDS)))
    low, high = BOUNDS[name]
    limits = np.iinfo(indexed.valid[name].dtype)
    near = st.sampled_from([v for v in around(low, high) if limits.min <= v <= limits.max])
    value = data.draw(near | st.integers(int(limits.min), int(limits.max)))
    position = data.draw(st.integers(0, indexed.valid[name].size - 1))
    indexed.assert_as_reference(indexed.with_value(name, position, value))
