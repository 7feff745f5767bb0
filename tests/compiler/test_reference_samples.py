"""What models are checked on: several sizes and seeds, telling numbers, given inputs."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from ingot.compiler.reference_samples import guarding_samples, reference_samples
from ingot.errors import DataError, ModelError, VerificationError
from ingot.reference.session import Reference
from tests.graphs import assert_bit_equal, parse


def model_of(inputs: str, outputs: str, body: str, weights: str = "") -> ir.Model:
    head = f'<ir_version: 10, opset_import: ["":21]> g ({inputs}) => ({outputs})'
    return parse(f"{head} {weights} {{ {body} }}")


def test_outputs_are_those_of_the_reference() -> None:
    model = model_of("float[N, 4] x", "float[N, 4] y", "y = Relu(x)")
    for sample in reference_samples(model).samples:
        assert_bit_equal(Reference(model).run(sample.inputs), sample.outputs)


def test_fixed_sizes_are_run_on_two_seeds() -> None:
    model = model_of("float[2, 4] x", "float[2, 4] y", "y = Relu(x)")
    one, other = reference_samples(model, seed=3).samples
    assert not np.array_equal(one.inputs["x"], other.inputs["x"])
    again = reference_samples(model, seed=3).samples
    assert_bit_equal(dict(one.inputs), dict(again[0].inputs))


def test_each_open_dimension_is_run_at_one_at_odd_and_at_larger_sizes() -> None:
    model = model_of(
        "float[N, S, 4] x, float[N, T, 4] z", "float[N, M, 4] y", "y = Concat<axis=1>(x, z)"
    )
    found = reference_samples(model)
    for symbol in "NST":
        sizes = {sample.sizes[symbol] for sample in found.samples}
        assert 1 in sizes and len(sizes) >= 4
    assert any(sample.sizes["S"] != sample.sizes["T"] for sample in found.samples)
    assert found.notes == ()


def test_dimensions_of_two_names_that_must_be_equal_are_so() -> None:
    model = model_of("float[N, S] x, float[N, T] z", "float[N, S] y", "y = Mul(x, z)")
    sizes = [sample.sizes for sample in reference_samples(model).samples]
    # A length of one is broadcast: ONNX Runtime takes that as well.
    assert all(size["S"] == size["T"] or 1 in size.values() for size in sizes)
    assert len({size["S"] for size in sizes}) >= 3


def test_sizes_that_the_model_refuses_are_left_out() -> None:
    model = model_of(
        "float[N, 1, H, W] x",
        "float[N, 1, A, B] y",
        "y = Conv(x, w)",
        "<float[1, 1, 3, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9}>",
    )
    found = reference_samples(model)
    assert any(size["H"] == 1 for size in found.refused)
    assert len({sample.sizes["H"] for sample in found.samples}) >= 3
    assert found.notes == ()


def test_a_dimension_of_one_possible_size_is_noted() -> None:
    model = model_of(
        "float[N, S] x", "float[N, 2] y", "y = MatMul(x, w)",
        "<float[16, 2] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,"
        " 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}>",
    )  # fmt: skip
    found = reference_samples(model)
    assert len({sample.sizes["N"] for sample in found.samples}) >= 3
    assert found.notes[0].startswith("dimension S could be checked at 16 only")


def test_a_batch_that_is_one_in_truth() -> None:
    model = model_of("float[N, 4] x", "float[1, 4] y", "y = Reshape(x, s)", "<int64[2] s = {1, 4}>")
    found = reference_samples(model)
    assert found.samples[0].sizes == {"N": 1}
    assert found.notes[0].startswith("dimension N could be checked at 1 only")


def test_a_window_gets_the_samples_that_it_takes() -> None:
    model = parse(
        '<ir_version: 10, opset_import: ["":21]> g (float[N, 1, samples] x) => (float[N, 1, T] y) '
        "{ y = AveragePool<kernel_shape = [512], strides = [160]>(x) }"
    )
    found = reference_samples(model)
    assert found.samples[0].sizes == {"N": 2, "samples": 1024}
    assert "checked from samples = 1024 on" in found.notes[0]


def test_a_recurrent_state_has_the_batch_behind_its_layers() -> None:
    model = model_of(
        "float[N, samples] x, float[1, B, 4] state", "float[S, 1, N, 4] y",
        'p = Pad<mode = "reflect">(x, pads) u = Unsqueeze(p, axes) t = Transpose<perm=[1,0,2]>(u)'
        " y = RNN<hidden_size = 4>(t, w, r, , , state)",
        "<int64[4] pads = {0, 20, 0, 20}, int64[1] axes = {2}, float[1, 4, 1] w = {1, 2, 3, 4},"
        " float[1, 4, 4] r = {1, 2, 3, 4, 5, 6, 7, 8, 9, 8, 7, 6, 5, 4, 3, 2}>",
    )  # fmt: skip
    found = reference_samples(model)
    assert found.samples[0].sizes == {"N": 2, "samples": 64, "B": 2}
    assert all(sample.sizes["B"] == sample.sizes["N"] for sample in found.samples)
    assert len({sample.sizes["N"] for sample in found.samples}) >= 3


def test_a_mask_of_the_past_and_the_present_together() -> None:
    model = model_of(
        "float[N, S] ids, float[N, P] past, float[N, T] mask", "float[N, T] y",
        "all = Concat<axis = 1>(past, ids)  y = Mul(all, mask)",
    )  # fmt: skip
    found = reference_samples(model)
    sizes = [sample.sizes for sample in found.samples]
    assert all(size["T"] == size["S"] + size["P"] for size in sizes)
    assert len({size["P"] for size in sizes}) >= 3


def test_a_model_that_runs_at_no_size_asks_for_one() -> None:
    model = model_of("float[N, 4] x", "float[7] y", "y = Reshape(x, s)", "<int64[1] s = {7}>")
    with pytest.raises(ModelError, match=r"give those it takes with --shape x=Nx4, a number for"):
        reference_samples(model)


def test_numbers_that_a_logarithm_takes_are_looked_for() -> None:
    model = model_of(
        "float[2, 8] x",
        "float[2, 8] y",
        "d = Sub(x, hundred)  y = Log(d)",
        "<float hundred = {100}>",
    )
    found = reference_samples(model)
    assert any(np.isfinite(sample.outputs["y"]).any() for sample in found.samples)


def test_an_output_without_a_finite_number_is_refused() -> None:
    model = model_of("float[2, 8] x", "float[2, 8] y, float[2, 8] z",
                     "s = Mul(x, x)  d = Neg(s)  y = Log(d)  z = Abs(x)")  # fmt: skip
    with pytest.raises(VerificationError, match=r"output 'y' has no finite number.*--verify-data"):
        reference_samples(model)


def test_a_saturated_output_is_noted() -> None:
    model = model_of("float[2, 8] x", "float[2, 8] y", "e = Add(x, t)  y = Sigmoid(e)",
                     "<float t = {1e6}>")  # fmt: skip
    (note,) = reference_samples(model).notes
    assert note.startswith("output 'y' holds next to nothing to compare (1 throughout)")


def test_one_that_saturates_on_large_numbers_only_is_run_on_small_ones() -> None:
    model = model_of("float[2, 8] x", "float[2, 8] y", "e = Mul(x, t)  y = Sigmoid(e)",
                     "<float t = {1e3}>")  # fmt: skip
    found = reference_samples(model)
    assert found.notes == ()
    assert max(len(np.unique(sample.outputs["y"])) for sample in found.samples) > 8


def test_what_depends_on_no_input_may_be_constant() -> None:
    model = model_of(
        "float[2, 8] x", "float[2, 8] z, float[8] y",
        "z = Neg(x)  s = Shape(x)  f = Cast<to = 1>(s)  m = ReduceMax<keepdims = 0>(f)"
        " y = Expand(m, e)", "<int64[1] e = {8}>",
    )  # fmt: skip
    assert reference_samples(model).notes == ()


def test_random_numbers_inside_of_the_model_are_refused() -> None:
    model = model_of("float[2, 8] x", "float[2, 8] y", "r = RandomNormalLike(x)  y = Add(x, r)")
    with pytest.raises(
        VerificationError, match=r"output 'y' differs from run to run.*RandomNormal"
    ):
        reference_samples(model)


def test_a_graph_is_guarded_at_two_sizes() -> None:
    fixed = reference_samples(model_of("float[2, 4] x", "float[2, 4] y", "y = Relu(x)")).samples
    assert guarding_samples(fixed) == fixed[:1]
    found = reference_samples(model_of("float[N, 4] x", "float[N, 4] y", "y = Relu(x)")).samples
    assert [sample.sizes["N"] for sample in guarding_samples(found)] == [2, 1]
    assert guarding_samples(()) == ()


def test_many_symbols_take_few_runs() -> None:
    names = [f"x{index}" for index in range(30)]
    inputs = ", ".join(f"float[L{index}, 4] {name}" for index, name in enumerate(names))
    outputs = ", ".join(f"float[L{index}, 4] y{index}" for index in range(30))
    body = " ".join(f"y{index} = Neg({name})" for index, name in enumerate(names))
    assert len(reference_samples(model_of(inputs, outputs, body)).samples) <= 12


def test_given_inputs_come_first_and_random_ones_behind() -> None:
    model = model_of("float[N, 4] x", "float[N, 4] y", "y = Relu(x)")
    given = {"x": np.full((9, 4), 3, np.float32)}
    found = reference_samples(model, given=[given], described="my.npz")
    assert found.samples[0].inputs is given
    assert str(found.samples[0]) == "example 0 of my.npz"
    assert str(found.samples[1]) == "random inputs at N = 2"


def test_given_inputs_do_where_random_ones_do_not() -> None:
    model = model_of("float[7] x, int64[1] n", "float[2] y",
                     "f = Mul(n, t)  y = Gather(x, f)", "<int64 t = {100}>")  # fmt: skip
    given = {"x": np.arange(7, dtype=np.float32), "n": np.array([0])}
    found = reference_samples(model, given=[given])
    assert len(found.samples) == 1
    assert found.notes[0].startswith("checked on the given inputs alone: ONNX Runtime cannot run")


def test_given_inputs_that_do_not_fit_are_named() -> None:
    model = model_of("float[N, 4] x", "float[N, 4] y", "y = Relu(x)")
    with pytest.raises(DataError, match="example 0 of my data does not fit the model"):
        reference_samples(model, given=[{"x": np.zeros((1, 5), np.float32)}], described="my data")


def test_sizes_below_a_window_are_left_out() -> None:
    body = "a = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(x) y = GlobalAveragePool(a)"
    found = reference_samples(model_of("float[N, 3, H, W] x", "float[N, 3, 1, 1] y", body))
    assert all(sample.sizes["H"] > 1 for sample in found.samples)
    assert any(sizes["H"] == 1 for sizes in found.refused)
