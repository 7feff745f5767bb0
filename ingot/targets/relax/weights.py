"""Taking the weights out of the code: constants become parameters of the function.

The library then holds code alone, and the weights are mapped from the artifact. Constants of equal
contents, such as one weight that several layers packed alike, become one parameter.
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax

# Smaller constants (axes, scalars, epsilons) stay in the code, where they cost nothing.
_SMALLEST_WEIGHT_BYTES = 64
# What tells most unequal arrays apart, without reading all of them.
_SAMPLED_BYTES = 1 << 14


@relax.expr_functor.mutator
class _ConstantHoister(relax.PyExprMutator):  # type: ignore[misc]
    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.parameters: list[relax.Var] = []
        self.values: list[npt.NDArray[np.generic]] = []
        self._known: dict[tvm.ir.GenericConst, relax.Var] = {}
        self._alike: dict[tuple[str, tuple[int, ...], bytes], list[int]] = {}

    def visit_generic_const_(self, constant: tvm.ir.GenericConst) -> relax.Expr:
        array = constant.value.numpy()
        # TVM's format for constants in the code cannot be read back where there are no elements.
        if 0 < array.nbytes < _SMALLEST_WEIGHT_BYTES:
            return constant
        if constant not in self._known:
            self._known[constant] = self.parameters[self._index_of(array)]
        return self._known[constant]

    def _index_of(self, array: npt.NDArray[np.generic]) -> int:
        """The index of the parameter that has the contents of an array, a new one if need be."""
        alike = self._alike.setdefault(_fingerprint(array), [])
        for index in alike:
            if np.array_equal(_bytes(self.values[index]), _bytes(array)):
                return index
        index = len(self.parameters)
        alike.append(index)
        self.parameters.append(
            relax.Var(f"weight_{index}", relax.TensorType(array.shape, str(array.dtype)))
        )
        self.values.append(array)
        return index


def _bytes(array: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _fingerprint(array: npt.NDArray[np.generic]) -> tuple[str, tuple[int, ...], bytes]:
    """What arrays of equal contents have in common, and others hardly."""
    data = _bytes(array)
    sample = np.ascontiguousarray(data[:: max(data.size // _SAMPLED_BYTES, 1)])
    digest = hashlib.blake2b(sample.data, digest_size=16)
    return str(array.dtype), array.shape, digest.digest()


def hoist_weights(
    module: tvm.IRModule,
) -> tuple[tvm.IRModule, dict[str, npt.NDArray[np.generic]]]:
    """Turns the large constants of ``main``, and empty ones, into parameters after its inputs.

    Returns:
        The module, and the weights by parameter name, in parameter order.
    """
    hoister = _ConstantHoister(module)
    function = module["main"]
    body = hoister.visit_expr(function.body)
    module = hoister.builder_.get()
    module["main"] = relax.Function(
        [*function.params, *hoister.parameters],
        body,
        function.ret_ty,
        function.is_pure,
        function.attrs,
    )
    names = [variable.name for variable in hoister.parameters]
    return module, dict(zip(names, hoister.values, strict=True))
