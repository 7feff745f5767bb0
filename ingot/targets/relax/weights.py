"""Taking the weights out of the code: constants become parameters of the function.

The library then holds code alone, and the weights are mapped from the artifact.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import tvm
from tvm import relax

# Smaller constants (axes, scalars, epsilons) stay in the code, where they cost nothing.
_SMALLEST_WEIGHT_BYTES = 64


@relax.expr_functor.mutator
class _ConstantHoister(relax.PyExprMutator):  # type: ignore[misc]
    def __init__(self, module: tvm.IRModule) -> None:
        super().__init__(module)
        self.parameters: list[relax.Var] = []
        self.values: list[npt.NDArray[np.generic]] = []
        self._known: dict[tvm.ir.GenericConst, relax.Var] = {}

    def visit_generic_const_(self, constant: tvm.ir.GenericConst) -> relax.Expr:
        array = constant.value.numpy()
        if array.nbytes < _SMALLEST_WEIGHT_BYTES:
            return constant
        if constant not in self._known:
            variable = relax.Var(
                f"weight_{len(self.parameters)}", relax.TensorType(array.shape, str(array.dtype))
            )
            self._known[constant] = variable
            self.parameters.append(variable)
            self.values.append(array)
        return self._known[constant]


def hoist_weights(
    module: tvm.IRModule,
) -> tuple[tvm.IRModule, dict[str, npt.NDArray[np.generic]]]:
    """Turns the large constants of ``main`` into parameters that follow its inputs.

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
