"""What is known before the model runs becomes a constant; nothing else does."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from ingot.passes.cleanup.constant_folding import ConstantFolding, ConstantFoldingOptions
from ingot.passes.cleanup.dead_code import DeadCode
from ingot.passes.invariants import check_graph, check_operators
from ingot.passes.storage import save
from tests.graphs import assert_bit_equal, nodes, outputs_of, parse, special_inputs


def model_of(body, *, inputs="float[N, 3, 4] x", output="float[N, 3, 4] y", weights=""):
    initializers = f"<{weights}>" if weights else ""
    return parse(
        f'<ir_version: 10, opset_import: ["":21]> '
        f"g ({inputs}) => ({output}) {initializers} {{ {body} }}"
    )


def run(model, **options):
    """Runs the pass, checks outputs bit by bit and the graph, and returns the outcome."""
    inputs = special_inputs(model)
    before = outputs_of(model, inputs)
    outcome = ConstantFolding(ConstantFoldingOptions(**options))(model)
    check_graph(model)
    check_operators(model)
    assert_bit_equal(before, outputs_of(model, inputs))
    return outcome


def constants(model):
    return {
        name: value.const_value.numpy().tolist() for name, value in model.graph.initializers.items()
    }


class TestFolded:
    def test_chain_of_constants_under_its_last_name(self):
        model = model_of(
            "[a] a = Mul(w, w) [b] b = Add(a, w) [c] c = Neg(b) [y] y = Mul(x, c)",
            weights="float[4] w = {1, 2, 3, 4}",
        )
        assert run(model).applied == 3
        assert nodes(model) == ["Mul"]
        assert constants(model) == {"c": [-2, -6, -12, -20]}

    def test_constant_nodes_become_initializers_of_their_names(self):
        model = model_of("k = Constant<value = float[4] {1, 2, 3, 4}>() y = Mul(x, k)")
        run(model)
        assert nodes(model) == ["Mul"]
        assert constants(model) == {"k": [1, 2, 3, 4]}

    @pytest.mark.parametrize("form", ["value_float = 2.5", "value_floats = [2.5]"])
    def test_all_forms_of_constant_nodes(self, form):
        model = model_of(f"k = Constant<{form}>() y = Mul(x, k)")
        run(model)
        assert np.ravel(constants(model)["k"]).tolist() == [2.5]

    def test_several_outputs_and_only_those_that_are_used(self):
        model = model_of(
            "a, b = Split<axis = 0, num_outputs = 2>(w) y = Mul(x, b)",
            weights="float[8] w = {1, 2, 3, 4, 5, 6, 7, 8}",
        )
        run(model)
        assert constants(model) == {"b": [5, 6, 7, 8]}

    def test_random_like_of_known_shape_is_left_but_its_shape_is_folded(self):
        model = model_of(
            "s = Shape(x) d = Slice(s, one, three) r = RandomUniform<shape = [4], low = 1.0, "
            "high = 1.0>() e = ConstantOfShape<value = float[1] {2}>(d) "
            "t = Mul(x, e) y = Mul(t, r)",
            weights="int64[1] one = {1}, int64[1] three = {3}",
        )
        run(model)
        assert nodes(model) == ["Shape", "RandomUniform", "Mul", "Mul"]
        assert constants(model) == {"e": [[2] * 4] * 3}


class TestShapes:
    @pytest.mark.parametrize(
        ("body", "value"),
        [
            ("k = Shape(w)", [2, 3]),
            ("k = Shape<start = 1>(x)", [3, 4]),
            ("k = Shape<start = -1>(x)", [4]),
            ("k = Shape<start = 1, end = 2>(x)", [3]),
            ("k = Size(w)", 6),
            ("s = Shape(x) k = Gather(s, one)", [3]),
            ("s = Shape(x) k = Gather(s, last)", 4),
            ("s = Shape(x) k = Slice(s, one, three)", [3, 4]),
            ("s = Shape(x) k = Slice(s, one, three, zero, one)", [3, 4]),
        ],
    )
    def test_static_dimensions(self, body, value):
        model = model_of(
            f"{body} f = Cast<to = 1>(k) g = ReduceSum<keepdims = 0>(f) y = Mul(x, g)",
            weights="float[2, 3] w = {1,2,3,4,5,6}, int64[1] one = {1}, int64[1] three = {3}, "
            "int64[1] zero = {0}, int64 last = {-1}",
        )
        run(model)
        DeadCode()(model)
        assert nodes(model) == ["Mul"]
        assert constants(model) == {"g": float(np.sum(value))}

    @pytest.mark.parametrize(
        "body",
        [
            "k = Shape(x)",
            "k = Size(x)",
            "s = Shape(x) k = Gather(s, zero)",
            "s = Shape(x) k = Slice(s, zero, one)",
            "s = Shape(x) k = Slice(s, zero, three, zero, two)",
        ],
    )
    def test_symbolic_dimensions_stay(self, body):
        model = model_of(
            f"{body} f = Cast<to = 1>(k) g = ReduceSum<keepdims = 0>(f) y = Mul(x, g)",
            weights="int64[1] zero = {0}, int64[1] one = {1}, int64[1] three = {3}, "
            "int64[1] two = {2}",
        )
        assert not run(model).modified


class TestNeverFolded:
    @pytest.mark.parametrize(
        "body",
        [
            "k = RandomNormal<shape = [4]>()",
            "k = RandomNormalLike(w)",
            "h = Bernoulli(w) k = Identity(h)",
            "t = Constant<value = bool {1}>() r = Constant<value = float {0.0}>() "
            "k = Dropout(w, r, t)",
        ],
    )
    def test_random_operators(self, body):
        model = model_of(f"{body} y = Mul(x, k)", weights="float[4] w = {1, 1, 1, 1}")
        random = [kind for kind in nodes(model) if kind not in ("Constant", "Identity", "Mul")]
        ConstantFolding()(model)
        assert set(random) <= set(nodes(model))

    def test_quantization(self):
        model = model_of(
            "k = DequantizeLinear(q, s) y = Mul(x, k)",
            weights="int8[4] q = {1,2,3,4}, float s = {2}",
        )
        assert not run(model).modified
        assert nodes(model) == ["DequantizeLinear", "Mul"]

    def test_control_flow(self):
        model = model_of("""c = Constant<value = bool {1}>() y = If(c) <
            then_branch = t () => (float[N, 3, 4] p) { p = Neg(x) },
            else_branch = e () => (float[N, 3, 4] q) { q = Abs(x) }>""")
        run(model)
        assert nodes(model) == ["If", "Neg", "Abs"]

    def test_inputs_with_a_default_that_a_caller_may_change(self):
        model = model_of("k = Neg(w) y = Mul(x, k)", weights="float[4] w = {1, 2, 3, 4}")
        model.graph.inputs.append(model.graph.initializers["w"])
        assert not ConstantFolding()(model).modified

    def test_operators_of_other_domains(self):
        model = model_of("k = Neg(w) y = Mul(x, k)", weights="float[4] w = {1, 2, 3, 4}")
        model.graph.node(0).domain = "com.acme"
        assert not ConstantFolding()(model).modified


class TestSize:
    GROWING = "s = Constant<value = int64[2] {1000, 4}>() k = Expand(w, s) m = ReduceMax(k, a) " \
        "y = Mul(x, m)"  # fmt: skip
    WEIGHTS = "float[4] w = {1, 2, 3, 4}, int64[1] a = {0}"

    def test_result_that_would_add_too_much_is_declined_before_it_is_computed(self, monkeypatch):
        model = model_of(self.GROWING, weights=self.WEIGHTS)
        (declined,) = run(model, max_bytes=15_000).declined
        assert "its result of 16000 bytes, in place of" in declined.reason
        assert "Expand" in nodes(model)
        monkeypatch.setattr("onnxruntime.InferenceSession", None)
        assert not ConstantFolding(ConstantFoldingOptions(max_bytes=15_000))(model).modified

    def test_within_the_limit_it_is_folded(self):
        model = model_of(self.GROWING, weights=self.WEIGHTS)
        run(model, max_bytes=16_000)
        assert nodes(model) == ["Mul"]
        assert constants(model) == {"m": [[1, 2, 3, 4]]}

    def test_size_of_constants_that_vanish_with_the_node_is_free(self):
        model = model_of(
            "k = Transpose(w) y = MatMul(x, k)",
            weights="float[4, 4] w = {1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16}",
        )
        assert run(model, max_bytes=0).applied == 1
        assert list(constants(model)) == ["k"]

    def test_size_of_constants_that_others_read_is_not(self):
        model = model_of(
            "k = Transpose(w) a = MatMul(x, k) y = MatMul(a, w)",
            weights="float[4, 4] w = {1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16}",
        )
        (declined,) = run(model, max_bytes=63).declined
        assert "64 bytes, in place of 0" in declined.reason

    @pytest.mark.parametrize("size", [-1, "x", 1.5])
    def test_limit_is_a_number_of_bytes(self, size):
        with pytest.raises(ValueError, match="max_bytes"):
            ConstantFoldingOptions(max_bytes=size)


class TestPlaces:
    def test_output_becomes_a_constant_node_of_its_name(self):
        model = model_of(
            "k = Neg(w) y = Exp(x)",
            output="float[N, 3, 4] y, float[4] k",
            weights="float[4] w = {1, 2, 3, 4}",
        )
        run(model)
        assert nodes(model) == ["Constant", "Exp"]
        assert [value.name for value in model.graph.outputs] == ["y", "k"]
        assert constants(model) == {}

    def test_subgraph_keeps_its_constants_and_its_result(self):
        model = model_of(
            """y = If(c) <
            then_branch = t () => (float[N, 3, 4] p) { k = Neg(w) p = Mul(x, k) },
            else_branch = e () => (float[1] q) { q = Constant<value = float[1] {7}>() }>""",
            inputs="float[N, 3, 4] x, bool c",
            output="float y",
            weights="float[4] w = {1, 2, 3, 4}",
        )
        for value in model.graph.outputs:
            value.shape = None
        for taken in (True, False):
            inputs = {**special_inputs(model), "c": np.array(taken)}
            before = outputs_of(model, inputs)
            copy = model.clone()
            ConstantFolding()(copy)
            check_graph(copy)
            assert_bit_equal(before, outputs_of(copy, inputs))
        assert nodes(copy) == ["If", "Mul", "Constant"]
        branches = [graph for graph in copy.graphs() if graph is not copy.graph]
        assert [list(graph.initializers) for graph in branches] == [["k"], []]

    def test_function_gets_constant_nodes(self):
        model = parse("""<ir_version: 10, opset_import: ["":21, "acme":1]>
            g (float[N] x) => (float[N] y) { y = acme.f(x) }
            <domain: "acme", opset_import: ["":21]>
            f (a) => (c) { k = Constant<value = float[1] {2}>() m = Neg(k) c = Mul(a, m) }""")
        run(model)
        (function,) = model.functions.values()
        assert [node.op_type for node in function] == ["Constant", "Constant", "Mul"]


def test_weights_in_another_file_are_read(tmp_path):
    model = model_of("k = Neg(w) y = Mul(x, k)", weights="float[4] w = {1, 2, 3, 4}")
    array = np.arange(4000, dtype=np.float32).reshape(1000, 4)
    model.graph.initializers["w"].const_value = ir.tensor(array, name="w")
    model.graph.initializers["w"].shape = ir.Shape(array.shape)
    proto = ir.to_proto(model)
    del proto.graph.value_info[:]
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 1000
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto))
    save(model, tmp_path / "m.onnx", limit=100)
    external = ir.load(tmp_path / "m.onnx")
    assert isinstance(external.graph.initializers["w"].const_value, ir.ExternalTensor)
    run(external)
    assert nodes(external) == ["Mul"]
    np.testing.assert_array_equal(external.graph.initializers["k"].const_value.numpy(), -array)


def test_a_sequence_of_constants_is_declined():
    model = model_of(
        "s = SequenceConstruct(w, w) at = Constant<value_int = 1>() k = SequenceAt(s, at) "
        "y = Mul(x, k)",
        weights="float[4] w = {1, 2, 3, 4}",
    )
    outcome = run(model)
    assert "its result is no tensor" in [entry.reason for entry in outcome.declined]


def test_operator_that_cannot_be_evaluated_is_declined_with_the_reason():
    model = model_of(
        "k = Reshape(w, bad) y = Mul(x, w)",
        weights="float[4] w = {1, 2, 3, 4}, int64[1] bad = {-7}",
    )
    (declined,) = ConstantFolding()(model).declined
    assert declined.reason
    assert "\n" not in declined.reason
    assert "Reshape" in nodes(model)
