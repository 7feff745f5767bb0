"""Operators that change nothing go; everything else, and every output's name, stays."""

import numpy as np
import onnx_ir as ir
import pytest

from ingot.passes.cleanup.identities import Identities, IdentitiesOptions
from tests.graphs import assert_bit_equal, nodes, outputs_of, parse, special_inputs


def model_of(body, *, inputs="float[N, 3, 4] x", output="float[N, 3, 4] y", opset=21, weights=""):
    initializers = f"<{weights}>" if weights else ""
    return parse(
        f'<ir_version: 10, opset_import: ["":{opset}]> '
        f"g ({inputs}) => ({output}) {initializers} {{ {body} }}"
    )


def run(model, **options):
    """Runs the pass, checks that the outputs keep their bits, and returns the outcome."""
    inputs = special_inputs(model)
    before = outputs_of(model, inputs)
    outcome = Identities(IdentitiesOptions(**options))(model)
    assert_bit_equal(before, outputs_of(model, inputs))
    assert all(node.name is not None for node in model.graph)
    return outcome


# Each body has `a = …` between two nodes that are none of the pass's business.
POSITIVE = {
    "Identity": "a = Identity(p)",
    "Dropout in inference": "a = Dropout(p)",
    "Dropout told so": "f = Constant<value = bool {0}>() r = Constant<value = float {0.5}>() "
    "a = Dropout(p, r, f)",
    "Cast to the same type": "a = Cast<to = 1>(p)",
    "CastLike of the same type": "a = CastLike(p, x)",
    "Reshape to the static sizes": "s = Constant<value = int64[3] {-1, 3, 4}>() a = Reshape(p, s)",
    "Reshape that copies": "s = Constant<value = int64[3] {0, 0, -1}>() a = Reshape(p, s)",
    "Reshape to its own shape": "s = Shape(p) a = Reshape(p, s)",
    "Transpose in order": "a = Transpose<perm = [0, 1, 2]>(p)",
    "Pad by nothing": "s = Constant<value = int64[6] {0, 0, 0, 0, 0, 0}>() a = Pad(p, s)",
    "Slice to the end": "z = Constant<value = int64[1] {0}>() e = Constant<value = int64[1] "
    "{9223372036854775807}>() i = Constant<value = int64[1] {1}>() a = Slice(p, z, e, i)",
    "Slice to the size": "z = Constant<value = int64[1] {0}>() e = Constant<value = int64[1] {4}>()"
    " i = Constant<value = int64[1] {-1}>() o = Constant<value = int64[1] {1}>() "
    "a = Slice(p, z, e, i, o)",
    "Concat of one": "a = Concat<axis = 1>(p)",
    "Sum of one": "a = Sum(p)",
    "Max of one": "a = Max(p)",
    "Expand to ones": "s = Constant<value = int64[2] {1, 4}>() a = Expand(p, s)",
    "Expand to its own shape": "s = Shape(p) a = Expand(p, s)",
    "Tile once": "s = Constant<value = int64[3] {1, 1, 1}>() a = Tile(p, s)",
    "times one": "one = Constant<value = float {1}>() a = Mul(p, one)",
    "one times": "one = Constant<value = float[4] {1, 1, 1, 1}>() a = Mul(one, p)",
    "divided by one": "one = Constant<value = float[1, 1] {1}>() a = Div(p, one)",
    "to the power of one": "one = Constant<value = float {1}>() a = Pow(p, one)",
    "to the integer power of one": "one = Constant<value = int64 {1}>() a = Pow(p, one)",
    "minus zero": "zero = Constant<value = float {0}>() a = Sub(p, zero)",
    "plus negative zero": "zero = Constant<value = float {-0.0}>() a = Add(p, zero)",
    "Transpose and back": "t = Transpose<perm = [1, 2, 0]>(p) a = Transpose<perm = [2, 0, 1]>(t)",
    "Transpose in reverse, twice": "t = Transpose(p) a = Transpose(t)",
    "Cast wider and back": "t = Cast<to = 11>(p) a = Cast<to = 1>(t)",
    "Unsqueeze and Squeeze": "i = Constant<value = int64[1] {1}>() t = Unsqueeze(p, i) "
    "a = Squeeze(t, i)",
    "Reshape away and back": "s = Constant<value = int64[2] {-1, 12}>() "
    "b = Constant<value = int64[3] {-1, 3, 4}>() t = Reshape(p, s) a = Reshape(t, b)",
    "two in a row": "t = Identity(p) a = Dropout(t)",
}

NEGATIVE = {
    # Without bounds it still takes infinities to the largest finite numbers.
    "Clip without bounds": "a = Clip(p)",
    "Dropout that may train": "f = Constant<value = bool {1}>() r = Constant<value = float {0}>() "
    "a = Dropout(p, r, f)",
    "plus zero, for -0.0": "zero = Constant<value = float {0}>() a = Add(p, zero)",
    "minus negative zero, for -0.0": "zero = Constant<value = float {-0.0}>() a = Sub(p, zero)",
    "zero minus": "zero = Constant<value = float {0}>() a = Sub(zero, p)",
    "one over": "one = Constant<value = float {1}>() a = Div(one, p)",
    "one to the power": "one = Constant<value = float {1}>() a = Pow(one, p)",
    "times almost one": "c = Constant<value = float[4] {1, 1, 1.0001, 1}>() a = Mul(p, c)",
    "times ones that add a dimension": "c = Constant<value = float[1, 1, 1, 1] {1}>() "
    "t = Mul(p, c) a = ReduceSum<keepdims = 0>(t, i0)",
    "times ones that may stretch the batch": "c = Constant<value = float[2, 1, 1] {1, 1}>() "
    "a = Mul(p, c)",
    "Pad by something": "s = Constant<value = int64[6] {0, 0, 1, 0, 0, -1}>() a = Pad(p, s)",
    "Slice from the second": "z = Constant<value = int64[1] {1}>() e = Constant<value = int64[1] "
    "{99}>() i = Constant<value = int64[1] {1}>() t = Slice(p, z, e, i) "
    "f = Slice(x, i0, i1, i1) a = Concat<axis=1>(t, f)",
    "Slice backwards": "z = Constant<value = int64[1] {-1}>() e = Constant<value = int64[1] {-99}>"
    "() i = Constant<value = int64[1] {2}>() m = Constant<value = int64[1] {-1}>() "
    "a = Slice(p, z, e, i, m)",
    "Expand that adds": "s = Constant<value = int64[4] {1, 1, 1, 1}>() t = Expand(p, s) "
    "a = Squeeze(t, i0)",
    "Cast that rounds": "t = Cast<to = 10>(p) a = Cast<to = 1>(t)",
    "Clip with a bound": "c = Constant<value = float {0}>() a = Clip(p, c)",
    "Unsqueeze and Squeeze elsewhere": "i = Constant<value = int64[1] {1}>() "
    "t = Unsqueeze(p, i) s = Constant<value = int64[1] {0}>() u = Transpose<perm=[1,0,2,3]>(t) "
    "a = Squeeze(u, s)",
}


@pytest.mark.parametrize("body", POSITIVE.values(), ids=POSITIVE)
def test_removed(body):
    model = model_of(f"p = Exp(x) {body} y = Neg(a)")
    outcome = run(model)
    assert outcome.modified
    assert outcome.applied > 0
    negation = model.graph.outputs[0].producer()
    assert negation.inputs[0].name == "p", "the node after reads past what was removed"


@pytest.mark.parametrize("body", NEGATIVE.values(), ids=NEGATIVE)
def test_kept(body):
    model = model_of(
        f"p = Exp(x) {body} y = Neg(a)", weights="int64[1] i0 = {0}, int64[1] i1 = {1}"
    )
    before = nodes(model)
    outcome = run(model)
    assert nodes(model) == before
    assert not outcome.modified


def test_transpose_of_a_square_is_kept():
    model = model_of(
        "a = Transpose<perm = [0, 2, 1]>(x) y = Neg(a)",
        inputs="float[N, 4, 4] x",
        output="float[N, 4, 4] y",
    )
    assert not run(model).modified


def test_zero_that_changes_a_sign_is_declined_with_the_option_that_allows_it():
    body = "zero = Constant<value = float {0}>() p = Exp(x) a = Add(p, zero) y = Neg(a)"
    model = model_of(body)
    (declined,) = run(model).declined
    assert "ignore_zero_sign" in declined.reason
    assert Identities(IdentitiesOptions(ignore_zero_sign=True))(model).applied == 1
    assert "Add" not in nodes(model)


def test_adding_integer_zero_is_nothing():
    model = model_of(
        "zero = Constant<value = int64 {0}>() a = Add(x, zero) y = Neg(a)",
        inputs="int64[N] x",
        output="int64[N] y",
    )
    run(model)
    assert nodes(model) == ["Constant", "Neg"]


class TestOutputs:
    def test_output_keeps_its_name_and_shape(self):
        model = model_of("p = Exp(x) y = Identity(p)")
        run(model)
        assert nodes(model) == ["Exp"]
        assert [value.name for value in model.graph.outputs] == ["y"]
        assert str(model.graph.outputs[0].shape) == "[N,3,4]"

    @pytest.mark.parametrize(
        ("body", "output", "weights"),
        [
            ("y = Identity(x)", "float[N, 3, 4] y", ""),
            ("y = Identity(w)", "float[2] y", "float[2] w = {1, 2}"),
            ("z = Exp(x) y = Identity(z)", "float[N, 3, 4] y, float[N, 3, 4] z", ""),
        ],
        ids=["of an input", "of an initializer", "of another output"],
    )
    def test_identity_that_an_output_needs_stays(self, body, output, weights):
        model = model_of(body, output=output, weights=weights)
        outcome = run(model)
        assert nodes(model)[-1] == "Identity"
        assert not outcome.modified

    def test_one_value_behind_two_outputs_keeps_one_identity(self):
        model = model_of(
            "p = Exp(x) y = Identity(p) z = Identity(p)",
            output="float[N, 3, 4] y, float[N, 3, 4] z",
        )
        run(model)
        assert nodes(model) == ["Exp", "Identity"]
        assert [value.name for value in model.graph.outputs] == ["y", "z"]

    def test_used_mask_keeps_a_dropout(self):
        model = model_of(
            "p = Exp(x) a, mask = Dropout(p) y = Where(mask, a, x)",
        )
        run(model)
        assert "Dropout" in nodes(model)


class TestSubgraphs:
    TEXT = """
        p = Exp(x) i = Identity(p)
        y = If(c) <
          then_branch = t () => (float[N, 3, 4] t2) { t1 = Identity(i) t2 = Neg(t1) },
          else_branch = e () => (float[N, 3, 4] e1) { e1 = Identity(i) }
        >"""

    def test_captured_values_are_read_past_and_a_branchs_result_stays_its_own(self):
        model = model_of(self.TEXT, inputs="float[N, 3, 4] x, bool c")
        for taken in (True, False):
            inputs = {**special_inputs(model), "c": np.array(taken)}
            before = outputs_of(model, inputs)
            copy = model.clone()
            Identities()(copy)
            assert_bit_equal(before, outputs_of(copy, inputs))
        assert nodes(copy) == ["Exp", "If", "Neg", "Identity"]
        neg, kept = (n for n in copy.graph.all_nodes() if n.op_type in ("Neg", "Identity"))
        assert (neg.inputs[0].name, kept.inputs[0].name) == ("p", "p")

    def test_loop_body_keeps_its_names(self):
        model = model_of(
            """n = Constant<value = int64 {3}>() yes = Constant<value = bool {1}>() p = Exp(x)
            y = Loop(n, yes, p) <body = b (int64 k, bool go, float[N, 3, 4] s)
              => (bool on, float[N, 3, 4] r) { on = Identity(go) t = Identity(s) r = Add(t, p) }>"""
        )
        run(model)
        body = model.graph.node(len(model.graph) - 1).attributes["body"].as_graph()
        assert [node.op_type for node in body] == ["Identity", "Add"]
        assert [value.name for value in body.outputs] == ["on", "r"]


def test_first_of_a_pair_stays_for_its_other_readers():
    model = model_of(
        "t = Transpose<perm = [0, 2, 1]>(x) a = Transpose<perm = [0, 2, 1]>(t) "
        "y = Neg(a) z = Exp(t)",
        output="float[N, 3, 4] y, float[N, 4, 3] z",
    )
    run(model)
    assert nodes(model) == ["Transpose", "Neg", "Exp"]


def test_transposes_that_do_not_undo_each_other_become_one():
    model = model_of(
        "p = Exp(x) t = Transpose<perm = [1, 2, 0]>(p) y = Transpose<perm = [1, 2, 0]>(t)",
        output="float[4, N, 3] y",
    )
    run(model)
    last = model.graph.outputs[0].producer()
    assert list(last.attributes["perm"].as_ints()) == [2, 0, 1]
    assert last.inputs[0].name == "p"


def test_reshape_with_a_copied_size_is_not_moved_to_another_source():
    model = model_of(
        "s = Constant<value = int64[3] {-1, 4, 3}>() b = Constant<value = int64[2] {0, 12}>() "
        "t = Reshape(x, s) y = Reshape(t, b)",
        output="float[N, 12] y",
    )
    run(model)
    assert nodes(model).count("Reshape") == 2


@pytest.mark.parametrize(
    ("opset", "is_test", "kept"), [(6, 0, True), (6, 1, False), (9, None, False)]
)
def test_dropout_of_old_operator_sets(opset, is_test, kept):
    attribute = "" if is_test is None else f"<is_test = {is_test}>"
    model = model_of(f"p = Exp(x) a = Dropout{attribute}(p) y = Neg(a)", opset=opset)
    Identities()(model)
    assert ("Dropout" in nodes(model)) == kept


def test_operators_of_other_domains_are_left():
    model = model_of("p = Exp(x) a = Identity(p) y = Neg(a)")
    model.graph.node(1).domain = "com.acme"
    assert not Identities()(model).modified


def test_function_bodies_are_cleaned_and_attribute_references_left():
    model = parse("""<ir_version: 10, opset_import: ["":21, "acme":1]>
        g (float[N] x) => (float[N] y) { y = acme.f<to = 1>(x) }
        <domain: "acme", opset_import: ["":21]>
        f <to> (a) => (c) { b = Identity(a) d = Cast<to: int = @to>(b) c = Neg(d) }""")
    inputs = special_inputs(model)
    before = outputs_of(model, inputs)
    Identities()(model)
    (function,) = model.functions.values()
    assert [node.op_type for node in function] == ["Cast", "Neg"]
    assert_bit_equal(before, outputs_of(model, inputs))


def test_options_refuse_unknown_keys():
    with pytest.raises(ValueError, match="ignore_zero"):
        IdentitiesOptions(ignore_zero=True)


def test_value_without_known_type_gets_the_removed_ones():
    model = model_of("p = Exp(x) a = Identity(p) y = Neg(a)")
    p, a = (model.graph.node(i).outputs[0] for i in (0, 1))
    p.type, p.shape = None, None
    a.type, a.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(["N", 3, 4])
    Identities()(model)
    assert (p.dtype, str(p.shape)) == (ir.DataType.FLOAT, "[N,3,4]")
