"""Random ONNX graphs for property tests, models from text, and comparing outputs bit by bit.

``models()`` is a hypothesis strategy of small valid models: directed acyclic graphs over float32
tensors of three shapes (each one's transpose or reshape among them), made of element-wise
operators, operators that are identities, shape changes, casts, constants in each of their forms,
and If nodes whose branches read values of the graph around them. Nodes repeat, are unread, or feed
several others, as chance has it. The first dimension may be symbolic.

    @given(models())
    def test_pass_keeps_outputs(model):
        inputs = special_inputs(model)
        before = outputs_of(model, inputs)
        MyPass()(model)
        assert_bit_equal(before, outputs_of(model, inputs))
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from ingot.compiler.inputs import random_inputs
from ingot.reference.session import Reference

OPSET = 21

# A reshape to each of the others is possible: all hold 12 elements per example.
SHAPES = ((2, 3, 4), (2, 4, 3), (2, 12))

_UNARY = ("Relu", "Neg", "Abs", "Sigmoid", "Tanh", "Exp", "Sqrt", "Reciprocal", "Floor")
_BINARY = ("Add", "Sub", "Mul", "Div", "Max", "Min")
_CONSTANTS = (0.0, -0.0, 1.0, -1.0, 0.5)


def parse(text: str) -> ir.Model:
    """A model from ONNX's textual syntax, with shapes inferred."""
    proto = onnx.parser.parse_model(text)
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


def nodes(model: ir.Model) -> list[str]:
    """Operators of all nodes, subgraphs included, in order."""
    return [node.op_type for node in ir.traversal.RecursiveGraphIterator(model.graph)]


def special_inputs(model: ir.Model, seed: int = 0) -> dict[str, np.ndarray]:
    """Random inputs whose floats begin with NaN, both infinities, both zeros and a denormal."""
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1.0, 1.0]
    inputs = random_inputs(model, seed=seed)
    for array in inputs.values():
        if array.dtype.kind == "f":
            flat = array.reshape(-1)
            flat[: len(special)] = special[: flat.size]
    return inputs


def outputs_of(model: ir.Model, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What ONNX Runtime computes, on one thread and without its own optimizations."""
    reference = Reference(model, threads=1)
    return reference.run(inputs)


def assert_bit_equal(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> None:
    """Equal names, dtypes, shapes and bits; any NaN equals any NaN, but -0.0 is not 0.0."""
    assert list(before) == list(after)
    for name, left in before.items():
        right = after[name]
        assert (left.dtype, left.shape) == (right.dtype, right.shape), name
        np.testing.assert_array_equal(left, right, err_msg=name)
        if left.dtype.kind == "f":
            numbers = ~np.isnan(left)
            np.testing.assert_array_equal(
                np.signbit(left[numbers]), np.signbit(right[numbers]), err_msg=f"{name}: signs"
            )


@st.composite
def models(draw: st.DrawFn, *, max_nodes: int = 12, control_flow: bool = True) -> ir.Model:
    """A small random model; see the module.

    Args:
        draw: Given by hypothesis.
        max_nodes: Most operators drawn; some stand for two or three nodes.
        control_flow: Whether If nodes may occur.
    """
    builder = _Builder(draw)
    for _ in range(draw(st.integers(1, max_nodes))):
        builder.grow(control_flow=control_flow)
    return builder.finish()


class _Builder:
    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self._count = 0
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: list[onnx.TensorProto] = []
        self._symbolic = draw(st.booleans())
        self._inputs = {f"x{i}": shape for i, shape in enumerate(SHAPES[: draw(st.integers(1, 3))])}
        self._shapes: dict[str, tuple[int, ...]] = dict(self._inputs)
        self._uses_condition = False
        self._uncaptured: set[str] = set()

    def grow(self, *, control_flow: bool) -> None:
        """Adds one operator, or a few that belong together, that reads values chosen at random."""
        kinds = [
            self._unary,
            self._binary,
            self._binary_with_constant,
            self._identity,
            self._shape_change,
            self._there_and_back,
            self._constant_expression,
        ]
        if control_flow:
            kinds.append(self._branch)
        self._draw(st.sampled_from(kinds))()

    def finish(self) -> ir.Model:
        names = list(self._shapes)
        computed = [name for name in names if name not in self._inputs]
        outputs = self._draw(
            st.lists(st.sampled_from(computed), min_size=1, max_size=3, unique=True)
        )
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, self._declared(shape))
            for name, shape in self._inputs.items()
        ]
        if self._uses_condition:
            inputs.append(helper.make_tensor_value_info("condition", TensorProto.BOOL, []))
        graph = helper.make_graph(
            self._nodes,
            "random",
            inputs,
            [
                helper.make_tensor_value_info(
                    name, TensorProto.FLOAT, self._declared(self._shapes[name])
                )
                for name in outputs
            ],
            initializer=self._initializers,
        )
        proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        proto.ir_version = 10
        onnx.checker.check_model(proto)
        return ir.from_proto(onnx.shape_inference.infer_shapes(proto))

    def _declared(self, shape: tuple[int, ...]) -> list[int | str]:
        # Constant expressions have no batch, and start with another size.
        batch = shape[0] == SHAPES[0][0] and self._symbolic
        return ["N" if batch else shape[0], *shape[1:]]

    def _pick(self, shape: tuple[int, ...] | None = None) -> str:
        names = [n for n, s in self._shapes.items() if s in SHAPES and shape in (None, s)]
        return self._draw(st.sampled_from(names))

    def _add(self, op_type: str, inputs: list[str], shape: tuple[int, ...], **attributes) -> str:
        name = f"v{self._count}"
        self._count += 1
        self._nodes.append(
            helper.make_node(op_type, inputs, [name], name=f"node_{name}", **attributes)
        )
        self._shapes[name] = shape
        return name

    def _constant(self, array: np.ndarray) -> str:
        name = f"c{self._count}"
        self._count += 1
        if self._draw(st.booleans()):
            self._initializers.append(numpy_helper.from_array(array, name))
        else:
            tensor = numpy_helper.from_array(array)
            self._nodes.append(
                helper.make_node("Constant", [], [name], name=f"node_{name}", value=tensor)
            )
        return name

    def _unary(self) -> None:
        source = self._pick()
        self._add(self._draw(st.sampled_from(_UNARY)), [source], self._shapes[source])

    def _binary(self) -> None:
        left = self._pick()
        right = self._pick(self._shapes[left])
        op_type = self._draw(st.sampled_from(_BINARY))
        self._add(op_type, [left, right], self._shapes[left])

    def _binary_with_constant(self) -> None:
        source = self._pick()
        shape = self._shapes[source]
        constant_shape = self._draw(st.sampled_from([(), (1,), shape[-1:], (1,) * len(shape)]))
        value = np.float32(self._draw(st.sampled_from(_CONSTANTS)))
        operands = [source, self._constant(np.full(constant_shape, value, np.float32))]
        if self._draw(st.booleans()):
            operands.reverse()
        self._add(self._draw(st.sampled_from(_BINARY)), operands, shape)

    def _identity(self) -> None:
        source = self._pick()
        shape = self._shapes[source]
        kind = self._draw(
            st.sampled_from(["Identity", "Dropout", "Cast", "Concat", "Pad", "Slice", "Reshape"])
        )
        if kind == "Cast":
            self._add(kind, [source], shape, to=TensorProto.FLOAT)
        elif kind == "Concat":
            self._add(kind, [source], shape, axis=self._draw(st.integers(0, len(shape) - 1)))
        elif kind == "Pad":
            pads = self._constant(np.zeros(2 * len(shape), np.int64))
            self._add(kind, [source, pads], shape)
        elif kind == "Slice":
            starts, ends, axes = (np.array([v], np.int64) for v in (0, 2**62, len(shape) - 1))
            self._add(kind, [source, *map(self._constant, (starts, ends, axes))], shape)
        elif kind == "Reshape":
            self._add(kind, [source, self._target(shape)], shape)
        else:
            self._add(kind, [source], shape)

    def _target(self, shape: tuple[int, ...]) -> str:
        """A Reshape's target for a shape: zero or -1 for the first dimension, or its size."""
        first = self._draw(st.sampled_from([0, -1] if self._symbolic else [0, -1, shape[0]]))
        return self._constant(np.array([first, *shape[1:]], np.int64))

    def _shape_change(self) -> None:
        source = self._pick()
        shape = self._shapes[source]
        if len(shape) == 3 and self._draw(st.booleans()):
            self._add("Transpose", [source], (shape[0], shape[2], shape[1]), perm=[0, 2, 1])
        else:
            target = self._draw(st.sampled_from(SHAPES))
            self._add("Reshape", [source, self._target(target)], target)

    def _there_and_back(self) -> None:
        source = self._pick()
        shape = self._shapes[source]
        if self._draw(st.booleans()):
            wide = self._draw(st.sampled_from([TensorProto.DOUBLE, TensorProto.FLOAT16]))
            there = self._add("Cast", [source], (), to=wide)
            back = self._add("Cast", [there], shape, to=TensorProto.FLOAT)
            self._uncaptured.add(back)
        else:
            axis = self._constant(np.array([self._draw(st.integers(0, len(shape)))], np.int64))
            there = self._add("Unsqueeze", [source, axis], ())
            self._add("Squeeze", [there, axis], shape)
        del self._shapes[there]  # not float32, or of a fourth shape

    def _constant_expression(self) -> None:
        values = self._draw(st.lists(st.sampled_from(_CONSTANTS), min_size=3, max_size=4))
        operand = self._constant(np.array(values, np.float32))
        result = self._add(self._draw(st.sampled_from(_UNARY)), [operand], (len(values),))
        matching = [n for n, s in self._shapes.items() if s in SHAPES and s[-1] == len(values)]
        if matching:
            source = self._draw(st.sampled_from(matching))
            self._add("Mul", [source, result], self._shapes[source])

    def _branch(self) -> None:
        source = self._pick()
        if source in self._uncaptured:
            # ONNX Runtime 1.31 removes a pair of Casts even with optimizations off, and forgets
            # readers in subgraphs: "Missing Input".
            source = next(iter(self._inputs))
        self._uses_condition = True
        shape = self._shapes[source]
        branches = {}
        for key in ("then_branch", "else_branch"):
            inner, result = f"s{self._count}", f"s{self._count + 1}"
            self._count += 2
            branches[key] = helper.make_graph(
                [
                    helper.make_node(op_type, [read], [written], name=f"node_{written}")
                    for op_type, read, written in (
                        (self._draw(st.sampled_from(_UNARY)), source, inner),
                        (self._draw(st.sampled_from(("Identity", "Neg"))), inner, result),
                    )
                ],
                key,
                [],
                [helper.make_tensor_value_info(result, TensorProto.FLOAT, self._declared(shape))],
            )
        self._add("If", ["condition"], shape, **branches)
