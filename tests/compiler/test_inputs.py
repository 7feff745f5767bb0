"""Random inputs that a model accepts."""

import re

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from ingot.compiler.inputs import random_inputs
from ingot.compiler.operand_values import index_limit
from ingot.compiler.sizes import BATCH, PIXELS, SEQUENCE
from ingot.errors import InputError, ModelError
from tests.graphs import assert_bit_equal, outputs_of, parse


def model_with(inputs, body="y = Constant<value = float[1] {0}>()"):
    return parse(
        f'<ir_version: 10, opset_import: ["":21]> g ({inputs}) => (float[M] y) {{ {body} }}'
    )


def test_bert_like_model_runs_on_them():
    model = parse("""<ir_version: 10, opset_import: ["":21]>
        g (int64[batch, seq] input_ids, int64[batch, seq] attention_mask,
           int64[batch, seq] token_type_ids) => (float[batch, seq, 2] y)
        <float[5, 2] words = {1,2,3,4,5,6,7,8,9,10}, float[2, 2] types = {1,2,3,4},
         int64[1] last = {2}> {
          a = Gather(words, input_ids)
          kinds = Cast<to = 6>(token_type_ids)
          b = Gather(types, kinds)
          c = Add(a, b)
          m = Cast<to = 1>(attention_mask)
          m3 = Unsqueeze(m, last)
          y = Mul(c, m3)
        }""")
    inputs = random_inputs(model)
    shape = (BATCH, SEQUENCE)
    assert {name: (a.shape, a.dtype.name) for name, a in inputs.items()} == dict.fromkeys(
        ["input_ids", "attention_mask", "token_type_ids"], (shape, "int64")
    )
    assert set(np.unique(inputs["input_ids"])) == set(range(5))
    assert set(np.unique(inputs["token_type_ids"])) == {0, 1}
    assert (inputs["attention_mask"] == 1).all()
    assert outputs_of(model, inputs)["y"].shape == (*shape, 2)
    assert [index_limit(value) for value in model.graph.inputs] == [5, None, 2]


def test_equal_seeds_give_equal_inputs():
    model = model_with("float[N, 8] x, int64[N] i, bool[N] b")
    assert_bit_equal(random_inputs(model, seed=3), random_inputs(model, seed=3))
    assert not np.array_equal(random_inputs(model)["x"], random_inputs(model, seed=1)["x"])


@pytest.mark.parametrize(
    ("declared", "shape"),
    [
        ("float[N, 3, H, W] x", (BATCH, 3, PIXELS, PIXELS)),
        ("float[N, seq, 8] x", (BATCH, SEQUENCE, 8)),
        ("int64[N, 3, H, W] x", (BATCH, 3, SEQUENCE, SEQUENCE)),
        ("float[1, 3, 224, 224] x", (1, 3, 224, 224)),
        ("float[?, ?] x", (BATCH, SEQUENCE)),
        ("float x", ()),
    ],
)
def test_open_dimensions(declared, shape):
    assert random_inputs(model_with(declared))["x"].shape == shape


def test_one_symbol_is_one_size_everywhere():
    inputs = random_inputs(model_with("float[N, L] x, float[L, N] y2, float[P] z"))
    assert inputs["x"].shape == inputs["y2"].shape[::-1]


def test_given_shape_binds_its_symbols_in_other_inputs():
    model = model_with("float[L, N] a, float[N, L] x")
    inputs = random_inputs(model, {"x": (3, 5)})
    assert (inputs["a"].shape, inputs["x"].shape) == ((5, 3), (3, 5))


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("float16[99]", None),
        ("double[99]", None),
        ("int32[99]", {0, 1}),
        ("bool[99]", {False, True}),
    ],
)
def test_dtypes(dtype, values):
    array = random_inputs(model_with(f"{dtype} x"))["x"]
    assert array.dtype.name == dtype.partition("[")[0].replace("double", "float64")
    if values is None:
        assert np.isfinite(array).all()
        assert array.std() > 0.5
    else:
        assert set(array.tolist()) == values


def test_bytes_use_their_whole_range():
    inputs = random_inputs(model_with("uint8[9999] u, int8[9999] i"))
    assert (inputs["u"].min(), inputs["u"].max()) == (0, 255)
    assert (inputs["i"].min(), inputs["i"].max()) == (-128, 127)


@pytest.mark.parametrize("dtype", ["float", "int64", "bool", "float16"])
def test_masks_are_ones(dtype):
    assert (random_inputs(model_with(f"{dtype}[N, 4] padding_Mask"))["padding_Mask"] == 1).all()


def test_vocabulary_on_another_axis_and_the_smaller_of_two():
    model = model_with(
        "int64[N] i, float[7, 3] a, float[2, 5] b",
        "p = Gather<axis = 1>(b, i)  q = Gather(a, i)  y = Constant<value = float[1] {0}>()",
    )
    assert index_limit(model.graph.inputs[0]) == 5


def test_inputs_with_a_default_are_left_to_it():
    model = model_with("float[1] x")
    value = model.graph.inputs[0]
    value.const_value = ir.tensor(np.zeros(1, np.float32), name="x")
    model.graph.register_initializer(value)
    assert random_inputs(model) == {}


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ({"z": (1,)}, "no input is named 'z'; the inputs are x, i"),
        ({"x": (1,)}, r"input 'x' has 2 dimensions, the given shape \[1\] has 1"),
        ({"x": (1, 9)}, "input 'x' has size 8 in dimension 1, not 9"),
        ({"x": (2, 8), "i": (3,)}, "dimension 'N' of input 'i' is given as 3 and, elsewhere, as 2"),
    ],
)
def test_shapes_that_do_not_fit_are_named(shapes, message):
    with pytest.raises(InputError, match=message):
        random_inputs(model_with("float[N, 8] x, int64[N] i"), shapes)


def test_an_input_of_no_type_asks_for_real_inputs():
    model = model_with("float[2] x")
    model.graph.inputs[0].type = None
    with pytest.raises(ModelError, match=r"input 'x' has no element type.*give real inputs"):
        random_inputs(model)


@pytest.mark.parametrize(
    ("dtype", "kind"),
    [("string", "O"), ("complex64", "c"), ("bfloat16", "V"), ("float8e4m3fn", "V")],
)
def test_types_beyond_numbers_of_numpy(dtype, kind):
    array = random_inputs(model_with(f"{dtype}[2, 3] x"))["x"]
    assert (array.shape, array.dtype.kind) == ((2, 3), kind) or dtype.startswith("float8")


def test_sequences_are_lists():
    arrays = random_inputs(model_with("seq(float[N, 3]) x"))["x"]
    assert [array.shape for array in arrays] == [(BATCH, 3)] * 3


def test_masks_may_end_in_zeros_but_never_begin_with_one():
    mask = random_inputs(model_with("int64[64, S] attention_mask"), masked=True)["attention_mask"]
    lengths = mask.sum(axis=1)
    assert (np.sort(mask, axis=1)[:, ::-1] == mask).all()
    assert lengths.min() >= 1
    assert len(set(lengths.tolist())) > 4


def test_lengths_are_within_the_sequence():
    lengths = random_inputs(model_with("float[N, T, 8] x, int64[N] x_lens"))["x_lens"]
    assert lengths[0] == SEQUENCE
    assert (lengths >= 1).all() and (lengths <= SEQUENCE).all()


SINGLE = {
    "AffineGrid": "float[2, 2, 3] t, int64[4] s => float[2, 5, 6, 2] y",
    "BlackmanWindow": "int32 n => float[10] y",
    "Clip": "float[N, 3] x, float low, float high => float[N, 3] y",
    "Col2Im": "float[1, 5, 5] x, int64[2] image, int64[2] block => float[1, 1, 5, 5] y",
    "CumSum": "float[N, 3] x, int32 axis => float[N, 3] y",
    "MaxUnpool<kernel_shape = [2, 2], strides = [2, 2]>":
        "float[1, 1, 2, 2] x, int64[1, 1, 2, 2] i => float[1, 1, 4, 4] y",
    "MelWeightMatrix": "int64 b, int64 n, int64 r, float low, float high => float[9, 8] y",
    "Gemm": "float[2, 3] a, float[3, 4] b, float c => float[2, 4] y",
}  # fmt: skip


@pytest.mark.parametrize("operator", SINGLE)
def test_operators_of_which_all_operands_are_inputs_run(operator):
    inputs, output = SINGLE[operator].split(" => ")
    names = ", ".join(re.findall(r"(\w+)(?:,|$)", re.sub(r"\[.*?\]", "", inputs)))
    proto = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["":21]> g ({inputs}) => ({output}) '
        f"{{ y = {operator}({names}) }}"
    )
    found = outputs_of(ir.from_proto(proto), random_inputs(ir.from_proto(proto)))["y"]
    assert np.isfinite(found).any()


def test_a_dimension_may_be_computed_from_others():
    model = model_with("float[N, past, 2] x, float[N, S] z, float[N, T] m, float[U] odd")
    for value, *shape in zip(model.graph.inputs[2:], ("past + S", "seq-len"), strict=True):
        value.shape = ir.Shape(["N"] * (len(value.shape) - 1) + shape)
    inputs = random_inputs(model, sizes={"past": 5, "S": 1})
    assert [array.shape for array in inputs.values()] == [(2, 5, 2), (2, 1), (2, 6), (BATCH,)]


DEMANDING = """<ir_version: 10, opset_import: ["":21]>
g (int32[N, 9] a, int32[N, 9] b, int64[N, 4] rows, int64[3] shape, int64[2] wide, int32[N] lens,
   float[5, N, 4] x, int64[1] axes, float[N, 9] data, int64[N, 9] spots, int64[M, 2] pairs,
   float[M] updates, int64[1] k, int64[2] parts, float[1, 16, 4] w, float[1, 16, 4] r)
=> (int32[N, 9] quotient, int32[N, 9] rest, float[N, 4] element, float[N, 3, 3] reshaped,
    float[N, 9] expanded, float[1, N, 4] hidden, float[N] reduced, float[N, 9] scattered,
    float[N, 9] spotted, float[N, 3] top, float[N, 4] left, float[N, 5] right)
<float[16] bias = {0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0}> {
  quotient = Div(a, b)
  rest = Mod(a, b)
  element = GatherElements<axis = 1>(data, rows)
  reshaped = Reshape(data, shape)
  expanded = Expand(data, wide)
  nothing, hidden = LSTM<hidden_size = 4>(x, w, r, , lens)
  reduced = ReduceSum<keepdims = 0>(data, axes)
  scattered = ScatterElements<axis = 1>(data, spots, data)
  spotted = ScatterND(data, pairs, updates)
  top, places = TopK(data, k)
  left, right = Split<axis = 1>(data, parts)
}"""


@pytest.mark.parametrize("seed", range(3))
def test_operands_are_what_their_operators_accept(seed):
    """Divisors, indices, shapes, lengths, axes: ONNX Runtime takes all of them."""
    model = ir.from_proto(onnx.shape_inference.infer_shapes(onnx.parser.parse_model(DEMANDING)))
    inputs = random_inputs(model, seed=seed, sizes={"N": 2 + seed, "M": 7})
    assert (inputs["b"] != 0).all()
    found = outputs_of(model, inputs)
    assert found["reshaped"].size == inputs["data"].size
    assert [found[name].shape[1] for name in ("top", "left", "right")] == [3, 4, 5]


def test_unknown_rank_asks_for_a_shape():
    model = model_with("float[2] x")
    model.graph.inputs[0].shape = None
    with pytest.raises(ModelError, match=r"input 'x' has no rank; .*--shape"):
        random_inputs(model)
