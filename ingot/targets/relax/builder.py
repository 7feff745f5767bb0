"""Building Relax where sizes are known only when the model runs.

Three things that TVM's block builder does not do: small tensors of computed sizes, dimensions that
are the outcome of such a computation, and conditions on sizes that are checked before anything
that relies on them reads memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tvm_ffi
from tvm import relax, tirx

from ingot.errors import UnsupportedOperatorError
from ingot.targets.relax.expressions import (
    Size,
    as_expression,
    at_least,
    chosen,
    described,
    equal,
    is_polynomial,
    product,
    provable,
    same,
    shape_of,
    simplified,
    variables,
)
from ingot.targets.relax.loops import LoopFunction, load, store
from ingot.targets.relax.shape_values import Known
from ingot.targets.relax.shape_values.known import as_operand, known_vector

CHECKS_ATTRIBUTE = "ingot.checks"
"""Of ``main``: how many of its last results are there only so that checks are made."""

LARGEST_NUMBER = 1 << 61
"""Of numbers that are given when the model runs: sums of two stay within 64 bits."""


class Builder(relax.BlockBuilder):  # type: ignore[misc]
    """A block builder that also computes with sizes and checks them when the model runs.

    Attributes:
        node: The node that is being converted, as messages name it.
        checks: Results of checks that nothing else depends on; ``main`` has to return them.
        taken: In a branch of an ``If``, a boolean tensor of one element: whether it is the one that
            is taken; else None. What is built is computed all the same.
    """

    def __init__(self) -> None:
        """Begins without a function."""
        super().__init__()
        self.node = ""
        self.checks: list[relax.Expr] = []
        self.taken: relax.Expr | None = None
        self._bound: dict[tvm_ffi.StructuralKey, tirx.Var] = {}
        self._definitions: dict[tirx.Var, tirx.Expr] = {}
        self._required: set[tvm_ffi.StructuralKey] = set()
        self._outcomes: dict[tirx.Var, list[Size]] = {}
        self._variables = 0

    def compute(
        self,
        elements: Sequence[Any],
        dtype: str = "int64",
        shape: Sequence[int] | None = None,
    ) -> relax.Expr:
        """Emits the computation of a small tensor.

        Args:
            elements: Its elements in row-major order, numbers and expressions.
            dtype: Its element type.
            shape: Its shape; by default it has one dimension.
        """
        sizes = [len(elements)] if shape is None else list(shape)
        count = max(1, len(elements))
        function = LoopFunction(self.node)
        target = tirx.decl_buffer([as_expression(count)], dtype, "computed")
        for at, element in enumerate(elements):
            value = function.size(as_operand(element, dtype))
            converted = value if str(value.ty.dtype) == dtype else tirx.Cast(dtype, value)
            function.body.append(store(target, converted, [at]))
        result = function.call(self, target, [count], "sizes")
        if len(sizes) == 1:
            return result
        return self.emit(relax.op.reshape(result, relax.ShapeExpr(sizes)))

    def require(self, condition: Any, message: str, *values: Size) -> None:
        """Has a condition on sizes checked when the model runs, before what is emitted next.

        Args:
            condition: What has to hold.
            message: What is wrong otherwise; ``{0}`` stands for the first of the values, and so on.
            values: What the message tells.

        Raises:
            UnsupportedOperatorError: It never holds.
        """
        condition = simplified(condition)
        if isinstance(condition, (bool, int)):
            if not condition:
                raise UnsupportedOperatorError(message.format(*map(described, values)))
            return
        key = tvm_ffi.StructuralKey(condition)
        if key in self._required or provable(condition):
            return
        if self.taken is not None:
            problem = message.format(*map(described, values))
            raise UnsupportedOperatorError(f"in a branch it cannot be checked that {problem}")
        self._required.add(key)
        function = LoopFunction(self.node)
        target = tirx.decl_buffer([as_expression(1)], "int64", "checked")
        failed = tirx.Not(function.size(condition))
        told = [function.size(value) for value in values]
        function.body += [
            function.refuse(failed, message, *told),
            store(target, as_expression(0), [0]),
        ]
        self.checks.append(function.call(self, target, [1], "check_sizes"))

    def dimension(self, size: Size) -> Size:
        """Returns a dimension that TVM can have in shapes: it computes only polynomials there.

        Anything else becomes a variable, the same one each time.
        """
        size = simplified(size)
        return size if is_polynomial(size) else self.bind([size])[0]

    def bind(self, sizes: Sequence[Any]) -> list[tirx.Var]:
        """Returns variables that hold sizes, computed here when the model runs.

        Args:
            sizes: What is computed; must not be negative.
        """
        wanted = [as_expression(size) for size in sizes]
        missing = {
            key: size
            for key, size in zip(map(tvm_ffi.StructuralKey, wanted), wanted, strict=True)
            if key not in self._bound
        }
        if missing:
            new = self.variables_of(self.compute(list(missing.values())), len(missing))
            for (key, size), variable in zip(missing.items(), new, strict=True):
                self._bound[key] = variable
                self._definitions[variable] = size
        return [self._bound[tvm_ffi.StructuralKey(size)] for size in wanted]

    def sizes_by(self, function: LoopFunction, values: Sequence[tirx.Expr]) -> list[tirx.Var]:
        """Returns variables that hold sizes which a function computes from its parameters.

        Args:
            function: The function; what computes the sizes is appended to its body.
            values: The sizes, of int64, in terms of the function's parameters; not negative.
        """
        target = tirx.decl_buffer([as_expression(len(values))], "int64", "computed")
        function.body += [store(target, value, [at]) for at, value in enumerate(values)]
        computed = function.call(self, target, [len(values)], "sizes")
        return self.variables_of(computed, len(values))

    def variables_of(self, computed: relax.Expr, count: int) -> list[tirx.Var]:
        """Returns variables for sizes that a vector of int64 holds when the model runs."""
        new = [tirx.Var(f"size_{self._variables + at}", "int64") for at in range(count)]
        self._variables += count
        # What relax.op.tensor_to_shape is taken apart to binds sizes to variables of its own, and
        # only some of the uses of these are replaced later.
        read = relax.call_pure_packed(
            "vm.builtin.tensor_to_shape", computed, ty_args=[relax.ShapeType(ndim=count)]
        )
        self.match_cast(self.emit(read), relax.ShapeType(new))
        return new

    def broadcast_size(self, first: Size, second: Size) -> tirx.Var:
        """Returns the variable of the size that two broadcast to, which either may be one."""
        (outcome,) = self.bind([chosen(equal(first, 1), second, first)])
        self._outcomes.setdefault(outcome, []).extend([first, second])
        return outcome

    def is_outcome(self, size: Size) -> bool:
        """Whether a size is one that others broadcast to."""
        return isinstance(size, tirx.Var) and size in self._outcomes

    def is_outcome_of(self, size: Size, part: Size) -> bool:
        """Whether a size is one that another broadcasts to."""
        parts = self._outcomes.get(size, []) if isinstance(size, tirx.Var) else []
        return any(same(each, part) or self.is_outcome_of(each, part) for each in parts)

    def roots(self, size: Size) -> set[tirx.Var]:
        """Returns the variables of inputs that a dimension depends on."""
        found: set[tirx.Var] = set()
        for variable in variables(size):
            definition = self._definitions.get(variable)
            found |= {variable} if definition is None else self.roots(definition)
        return found

    def values_of(self, tensor: relax.Expr) -> Known:
        """Returns the elements of a small tensor of integers that is computed when the model runs.

        Raises:
            UnsupportedOperatorError: The tensor has no fixed number of elements.
        """
        sizes = shape_of(tensor)
        count = product(sizes)
        if not isinstance(count, int):
            raise UnsupportedOperatorError("the number of sizes is known only when the model runs")
        if not count:
            return Known("int64", np.empty([int(size) for size in sizes], dtype=object))
        function = LoopFunction(self.node)
        source = function.tensor(tensor, "given")
        places = np.ndindex(*[int(size) for size in sizes])
        values = [load(source, place).astype("int64") for place in places]
        elements = known_vector(self._signed(function, values)).elements
        return Known("int64", elements.reshape([int(size) for size in sizes]))

    def signed(self, values: Sequence[Any]) -> list[tirx.Expr]:
        """Computes integers, negative ones among them, here; returns short expressions of each."""
        function = LoopFunction(self.node)
        return self._signed(function, [function.size(value) for value in values])

    def _signed(self, function: LoopFunction, values: Sequence[tirx.Expr]) -> list[tirx.Expr]:
        # TVM takes the variables of shapes for not negative: each is the difference of two.
        count = len(values)
        target = tirx.decl_buffer([as_expression(2 * count)], "int64", "halves")
        zero, most = as_expression(0), as_expression(LARGEST_NUMBER)
        for at, value in enumerate(values):
            value = tirx.max(tirx.min(value, most), zero - most)
            function.body.append(store(target, tirx.max(value, zero), [at]))
            function.body.append(store(target, tirx.max(zero - value, zero), [count + at]))
        new = self.variables_of(function.call(self, target, [2 * count], "sizes"), 2 * count)
        return [high - low for high, low in zip(new[:count], new[count:], strict=True)]

    def tensor_of(self, known: Known) -> relax.Expr:
        """Returns a tensor for what is known of one."""
        if known.is_constant:
            return relax.const(known.array(), known.dtype)
        if known.dtype == "int64" and all(at_least(size, 0) for size in known.flat):
            shape = relax.ShapeExpr([as_expression(size) for size in known.flat])
            tensor = self.emit(relax.op.shape_to_tensor(shape))
            if len(known.shape) == 1:
                return tensor
            return self.emit(relax.op.reshape(tensor, relax.ShapeExpr(known.shape)))
        return self.compute(known.flat, known.dtype, known.shape)
