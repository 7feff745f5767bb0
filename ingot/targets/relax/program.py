"""From a planned Relax function to the program that the runtime's library executes.

Relax has lowered everything to calls by then: of kernels, of functions that allocate, and of those
that compute with shapes, which lie in a heap of integers. Here each becomes an instruction.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from tvm import ir, relax, tirx

from ingot.errors import CompilationError
from ingot.runtime.interface import Interface
from ingot.runtime.manifest import NPU_PREFIX, REGION_PREFIX
from ingot.runtime.program import Argument, Program
from ingot.targets.relax.instructions import Block
from ingot.targets.relax.program_builder import ProgramBuilder, Size, Tensor

# Of TVM's functions that read and write shapes: how a dimension is given.
_EQUALS_NUMBER, _STORED, _IGNORED, _EQUALS_SLOT = range(4)


@dataclasses.dataclass(frozen=True)
class _Storage:
    number: int


@dataclasses.dataclass(frozen=True)
class _Shape:
    sizes: tuple[Size, ...]


@dataclasses.dataclass(frozen=True)
class _Fields:
    values: tuple[Any, ...]


class _Heap:
    """The integers that shapes are made of."""


_NOTHING = _Fields(())


def make_program(main: relax.Function, interface: Interface) -> Program:
    """Translates the planned ``main`` of a module.

    Args:
        main: Its parameters are the model's inputs and then the weights; all its calls are of prim
            funcs, of the virtual machine's functions, or of regions.
        interface: What the code is compiled for.

    Raises:
        CompilationError: The function calls something that the runtime does not have.
    """
    return _Translation(main, interface).program()


class _Translation:
    def __init__(self, main: relax.Function, interface: Interface) -> None:
        self._main = main
        self._interface = interface
        self._values: dict[Any, Any] = {}
        self._known: dict[Any, Tensor] = {}
        self._builder = ProgramBuilder()

    def program(self) -> Program:
        for parameter in self._main.params:
            self._values[parameter] = self._builder.new_tensor(int(parameter.ty.ndim))
        result = self._run(self._main.body)
        outputs = [self._tensor(each) for each in _fields(result)]
        return self._builder.finish(outputs, self._interface)

    def _run(self, body: relax.Expr) -> Any:
        if isinstance(body, relax.SeqExpr):
            for block in body.blocks:
                for binding in block.bindings:
                    self._values[binding.var] = self._bound(binding)
            return self._value(body.body)
        return self._value(body)

    def _bound(self, binding: relax.Binding) -> Any:
        value = binding.value
        if isinstance(value, relax.If):
            return self._branch(value)
        if isinstance(value, ir.Call):
            return self._call(value)
        return self._value(value)

    def _value(self, expression: Any) -> Any:
        if isinstance(expression, ir.GenericConst):
            return self._constant(expression)
        if isinstance(expression, relax.ShapeExpr):
            return _Shape(tuple(self._size(size) for size in expression.values))
        if isinstance(expression, relax.Tuple):
            return _Fields(tuple(self._value(field) for field in expression.fields))
        if isinstance(expression, relax.TupleGetItem):
            return _fields(self._value(expression.tuple_value))[expression.index]
        if isinstance(expression, (tirx.IntImm, tirx.FloatImm)):
            return expression.value
        if expression in self._values:
            return self._values[expression]
        raise CompilationError(f"there is no instruction for {type(expression).__name__}")

    def _size(self, size: Any) -> Size:
        if isinstance(size, tirx.IntImm):
            return 0, int(size.value)
        value = self._value(size)
        return value if isinstance(value, tuple) else (0, int(value))

    def _tensor(self, expression: Any) -> Tensor:
        known = isinstance(expression, Tensor)
        value = expression if known else self._value(expression)
        if not isinstance(value, Tensor):
            raise CompilationError(f"no tensor, but {type(value).__name__}")
        return value

    def _constant(self, constant: ir.GenericConst) -> Tensor:
        if constant not in self._known:
            dtype = str(constant.ty.dtype)
            self._known[constant] = self._builder.constant(constant.value.numpy(), dtype)
        return self._known[constant]

    def _call(self, call: ir.Call) -> Any:
        if isinstance(call.op, ir.GlobalVar):
            arguments = [self._argument(each) for each in call.args]
            self._builder.kernel(call.op.name_hint, arguments)
            return _NOTHING
        if isinstance(call.op, relax.ExternFunc):
            name = str(call.op.global_symbol)
            if name.startswith((REGION_PREFIX, NPU_PREFIX)):
                return self._region(name, call)
        else:
            name = str(call.op.name)
        given = list(call.args)
        if name == "relax.call_builtin_with_ctx":
            name, given = str(given[0].global_symbol), list(given[1].fields)
        handler = _HANDLERS.get(name)
        if handler is None:
            raise CompilationError(f"the runtime does not have {name}")
        return handler(self, call, given)

    def _argument(self, expression: Any) -> tuple[Argument, int]:
        value = self._value(expression)
        if isinstance(value, Tensor):
            return Argument.TENSOR, value.number
        if isinstance(value, _Heap):
            return Argument.SLOTS, 0
        if isinstance(value, tuple):
            return (Argument.SLOT if value[0] else Argument.NUMBER), value[1]
        if isinstance(value, float):
            return Argument.REAL, int(np.float64(value).view(np.int64))
        if isinstance(value, int):
            return Argument.NUMBER, value
        raise CompilationError(f"a kernel cannot take {type(value).__name__}")

    def _allocate_storage(self, _: ir.Call, arguments: Sequence[Any]) -> _Storage:
        (size,) = self._value(arguments[0]).sizes
        return _Storage(self._builder.storage(size))

    def _allocate_tensor(self, _: ir.Call, arguments: Sequence[Any]) -> Tensor:
        storage, offset, shape = (self._value(each) for each in arguments[:3])
        if not isinstance(offset, int):
            raise CompilationError("a tensor's place in its storage is a number")
        dtype = str(arguments[3].value)
        return self._builder.tensor(storage.number, offset, dtype, shape.sizes)

    def _reshape(self, call: ir.Call, arguments: Sequence[Any]) -> Tensor:
        source, shape = self._tensor(arguments[0]), self._value(arguments[1])
        return self._builder.view(source, str(call.ty_args[0].dtype), shape.sizes)

    def _view(self, _: ir.Call, arguments: Sequence[Any]) -> Tensor:
        source, shape = self._tensor(arguments[0]), self._value(arguments[1])
        if self._value(arguments[3]) != 0:
            raise CompilationError("a view begins where its tensor does")
        return self._builder.view(source, str(arguments[2].value), shape.sizes)

    def _heap(self, _: ir.Call, arguments: Sequence[Any]) -> _Heap:
        first = self._builder.new_slots(int(arguments[0].value))
        assert first == 0, "the heap's places are the first slots"
        return _Heap()

    def _make_shape(self, _: ir.Call, arguments: Sequence[Any]) -> _Shape:
        given = [int(each.value) for each in arguments[2:]]
        return _Shape(tuple(zip(given[::2], given[1::2], strict=True)))

    def _make_number(self, _: ir.Call, arguments: Sequence[Any]) -> Size:
        return int(arguments[1].value), int(arguments[2].value)

    def _match_shape(self, _: ir.Call, arguments: Sequence[Any]) -> _Fields:
        value = self._value(arguments[0])
        count = int(arguments[2].value)
        codes = [int(each.value) for each in arguments[3 : 3 + 2 * count]]
        for axis, (code, given) in enumerate(zip(codes[::2], codes[1::2], strict=True)):
            if code == _IGNORED:
                continue
            if not isinstance(value, Tensor):
                self._match(value.sizes[axis], code, given)
            elif code == _STORED:
                self._builder.dimension(value, axis, given)
            else:
                size = self._builder.dimension(value, axis, self._builder.new_slots(1))
                self._match(size, code, given)
        return _NOTHING

    def _match_number(self, _: ir.Call, arguments: Sequence[Any]) -> _Fields:
        code, given = int(arguments[2].value), int(arguments[3].value)
        self._match(self._size(arguments[0]), code, given)
        return _NOTHING

    def _match(self, size: Size, code: int, given: int) -> None:
        if code == _STORED:
            self._builder.copy_size(size, given)
        elif code != _IGNORED:
            self._builder.match((1 if code == _EQUALS_SLOT else 0, given), size)

    def _check_rank(self, _: ir.Call, arguments: Sequence[Any]) -> _Fields:
        tensor, rank = self._tensor(arguments[0]), int(arguments[1].value)
        # Of the model's inputs the session knows; -1 stands for any.
        if tensor.number >= len(self._main.params) and rank >= 0:
            self._builder.require_rank(tensor, rank)
        return _NOTHING

    def _shape_of(self, _: ir.Call, arguments: Sequence[Any]) -> _Shape:
        tensor = self._tensor(arguments[0])
        rank = self._builder.rank(tensor)
        first = self._builder.new_slots(rank)
        sizes = [self._builder.dimension(tensor, axis, first + axis) for axis in range(rank)]
        return _Shape(tuple(sizes))

    def _read_shape(self, call: ir.Call, arguments: Sequence[Any]) -> _Shape:
        count = int(call.ty_args[0].ndim)
        return _Shape(tuple(self._builder.read(self._tensor(arguments[0]), count)))

    def _write_shape(self, _: ir.Call, arguments: Sequence[Any]) -> Tensor:
        return self._builder.write(self._value(arguments[0]).sizes)

    def _region(self, name: str, call: ir.Call) -> Any:
        kinds = _kinds(call.ty_args[0]) if name.startswith(REGION_PREFIX) else []
        outputs = self._builder.region(
            name,
            [self._tensor(argument) for argument in call.args],
            [(str(kind.dtype), int(kind.ndim)) for kind in kinds],
        )
        if len(outputs) == 1 and not isinstance(call.ty_args[0], relax.TupleType):
            return outputs[0]
        return _Fields(tuple(outputs))

    def _branch(self, branch: relax.If) -> Any:
        self._builder.begin_branch()
        blocks, results = (Block(), Block()), []
        bodies = (branch.true_branch, branch.false_branch)
        for block, body in zip(blocks, bodies, strict=True):
            with self._builder.block(block):
                results.append([self._tensor(each) for each in _fields(self._run(body))])
        merged = self._builder.branch(self._tensor(branch.cond), blocks, results)
        return merged[0] if len(merged) == 1 else _Fields(tuple(merged))

    def _same(self, _: ir.Call, arguments: Sequence[Any]) -> Any:
        return self._value(arguments[0])

    def _nothing(self, _: ir.Call, __: Sequence[Any]) -> _Fields:
        return _NOTHING

    def _field(self, _: ir.Call, arguments: Sequence[Any]) -> Any:
        return _fields(self._value(arguments[0]))[int(arguments[1].value)]

    def _tuple(self, _: ir.Call, arguments: Sequence[Any]) -> _Fields:
        return _Fields(tuple(self._value(each) for each in arguments))


_Handler = Callable[[_Translation, ir.Call, Sequence[Any]], Any]
_HANDLERS: Mapping[str, _Handler] = {
    "relax.vm.alloc_storage": _Translation._allocate_storage,
    "relax.vm.alloc_tensor": _Translation._allocate_tensor,
    "relax.vm.kill_object": _Translation._nothing,
    "relax.null_value": _Translation._nothing,
    "vm.builtin.null_value": _Translation._nothing,
    "vm.builtin.tuple_reset_item": _Translation._nothing,
    "vm.builtin.alloc_shape_heap": _Translation._heap,
    "vm.builtin.check_tensor_info": _Translation._check_rank,
    "vm.builtin.check_shape_info": _Translation._nothing,
    "vm.builtin.check_prim_value_info": _Translation._nothing,
    "vm.builtin.check_tuple_info": _Translation._nothing,
    "vm.builtin.match_shape": _Translation._match_shape,
    "vm.builtin.match_prim_value": _Translation._match_number,
    "vm.builtin.make_shape": _Translation._make_shape,
    "vm.builtin.make_prim_value": _Translation._make_number,
    "vm.builtin.make_tuple": _Translation._tuple,
    "vm.builtin.tuple_getitem": _Translation._field,
    "vm.builtin.reshape": _Translation._reshape,
    "runtime.TVMTensorCreateView": _Translation._view,
    "vm.builtin.shape_of": _Translation._shape_of,
    "vm.builtin.tensor_to_shape": _Translation._read_shape,
    "relax.run.shape_to_tensor": _Translation._write_shape,
    "vm.builtin.copy": _Translation._same,
    "vm.builtin.ensure_zero_copy": _Translation._same,
}


def _fields(value: Any) -> tuple[Any, ...]:
    return value.values if isinstance(value, _Fields) else (value,)


def _kinds(kind: relax.Type) -> list[Any]:
    return list(kind.fields) if isinstance(kind, relax.TupleType) else [kind]
