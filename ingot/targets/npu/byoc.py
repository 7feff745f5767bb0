"""TVM's bring-your-own-codegen route: Relax partitioned by patterns into regions of the NPU.

Each family of rules has a Relax operator of its own, ``ingot.npu.convolution`` and so on, which the
importer makes of the operators of the NPU's domain. ``FuseOpsByPattern`` makes a composite function
of each, ``MergeCompositeFunctions`` merges those that can run without the CPU between them, and
``RunCodegen`` asks ``relax.ext.ingot_npu`` for the code of each region. That gives no module: the
host code calls the region by its name, which the session resolves to an executor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tvm
import tvm_ffi
from tvm import relax
from tvm.relax.dpl import is_op

from ingot.runtime.manifest import NPU_PREFIX
from ingot.targets.npu.composites import Composite
from ingot.targets.npu.partition import DOMAIN, INDEX
from ingot.targets.npu.rules import RULES
from ingot.targets.npu.rules.base import to_nhwc
from ingot.targets.relax.regions import typed_operator

CODEGEN = "ingot_npu"
_REGION_NAME = "region{}"
# RunCodegen keeps a region's constants here, to be linked; they are only indices.
_LINKED_CONSTANTS = "const_name_to_constant"

Emit = Callable[[str, "RegionFunction"], None]
Converter = Callable[[relax.BlockBuilder, list[Any], dict[str, Any]], relax.Expr]


class RegionFunction:
    """A region as Relax has it.

    Attributes:
        inputs: Names of its inputs, with shape and dtype.
        calls: The composites in order: index, operands and result by name.
        outputs: Names of its outputs.
    """

    def __init__(self, function: relax.Function) -> None:
        """Reads the function of a region."""
        self._names: dict[relax.Var, str] = {}
        self.inputs = [
            (self._name(var), tuple(int(size) for size in var.ty.shape), str(var.ty.dtype))
            for var in function.params
        ]
        self.calls: list[tuple[int, list[str], str]] = []
        local: dict[relax.Var, relax.Function] = {}
        bound: dict[relax.Var, relax.Expr] = {}
        for block in function.body.blocks:
            for binding in block.bindings:
                value = binding.value
                if isinstance(value, relax.Function):
                    local[binding.var] = value
                elif isinstance(value, relax.Call):
                    operands = [self._name(argument) for argument in value.args]
                    index = _composite_index(local[value.op])
                    self.calls.append((index, operands, self._name(binding.var)))
                else:
                    bound[binding.var] = value
        body = function.body.body
        body = bound.get(body, body)
        outputs = body.fields if isinstance(body, relax.Tuple) else [body]
        self.outputs = [self._name(var) for var in outputs]

    def _name(self, var: relax.Var) -> str:
        return self._names.setdefault(var, f"v{len(self._names)}")


def _composite_index(function: relax.Function) -> int:
    """Returns which composite a composite function is."""
    for block in function.body.blocks:
        for binding in block.bindings:
            call = binding.value
            if isinstance(call, relax.Call) and str(call.op.name).startswith(NPU_PREFIX):
                return int(call.args[-1].value.numpy())
    raise AssertionError("a composite function without an operator of the NPU")


def _operator(name: str) -> tvm.ir.Op:
    """Returns the Relax operator of a family, whose result has the type that it is called with."""
    return typed_operator(f"{NPU_PREFIX}{name}", "A layer that an NPU computes.")


def converters(composites: Sequence[Composite]) -> Mapping[tuple[str, str], Converter]:
    """Returns converters to Relax for the operators of the NPU's domain."""

    def converter(name: str) -> Converter:
        def convert(
            _: relax.BlockBuilder, inputs: list[Any], attributes: dict[str, Any]
        ) -> relax.Expr:
            index = int(attributes[INDEX])
            cone = composites[index].cone
            dtype = "int32" if cone.grid is None else cone.grid.dtype
            result = relax.TensorType(to_nhwc(cone.shape), dtype)
            arguments = [*inputs, relax.const(index, "int32")]
            return relax.Call(_operator(name), arguments, ty_args=[result])

        return convert

    return {(DOMAIN, rule.name): converter(rule.name) for rule in RULES}


def partition(module: tvm.IRModule, emit: Emit) -> tvm.IRModule:
    """Cuts the regions out of a module.

    Args:
        module: An imported graph.
        emit: Called with the name and the function of each region, in order.

    Returns:
        The module, in which each region is a call of ``ingot.npu.NAME``.
    """
    patterns = [
        (f"{CODEGEN}.{rule.name}", is_op(_operator(rule.name).name)(varg_default_wildcard=True))
        for rule in RULES
    ]
    module = tvm.transform.Sequential(
        [
            relax.transform.ConvertToDataflow(),
            relax.transform.FuseOpsByPattern(patterns, bind_constants=True),
            relax.transform.MergeCompositeFunctions(),
        ]
    )(module)
    module = _with_short_names(module)

    def codegen(functions: Sequence[relax.Function], _: Any, __: Any) -> list[Any]:
        for function in sorted(functions, key=lambda f: _order(f.attrs["global_symbol"])):
            name = str(function.attrs["global_symbol"]).removeprefix(NPU_PREFIX)
            emit(name, RegionFunction(function))
        return []

    tvm_ffi.register_global_func(f"relax.ext.{CODEGEN}", codegen, override=True)
    module = relax.transform.RunCodegen({CODEGEN: {}})(module)
    return module.without_attr(_LINKED_CONSTANTS)


def _order(symbol: str) -> int:
    return int("".join(filter(str.isdigit, str(symbol))))


def _with_short_names(module: tvm.IRModule) -> tvm.IRModule:
    """Numbers the regions in the order in which ``main`` calls them."""
    regions: dict[str, None] = {}
    for block in module["main"].body.blocks:
        for binding in block.bindings:
            callee = getattr(binding.value, "op", None)
            if isinstance(callee, tvm.ir.GlobalVar):
                function = module[callee]
                if function.attrs is not None and "Codegen" in function.attrs:
                    regions.setdefault(callee.name_hint)
    for index, name in enumerate(regions):
        var = module.get_global_var(name)
        symbol = NPU_PREFIX + _REGION_NAME.format(index)
        module.update_func(var, module[var].with_attr("global_symbol", symbol))
    return module
