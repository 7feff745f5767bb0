"""From a planned Relax function to the program that the runtime's library executes.

Relax has lowered everything to calls by then: of kernels, of functions that allocate, and of those
that compute with shapes, which lie in a heap of integers. Here each becomes an instruction, and
storages are freed after their last use.
"""

from __future__ import annotations

import base64
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from tvm import ir, relax, tirx

from ingot.errors import CompilationError
from ingot.runtime.interface import Interface
from ingot.runtime.manifest import NPU_PREFIX, REGION_PREFIX
from ingot.runtime.program import PROGRAM_VERSION, Argument, Constant, Op, Program, type_code
from ingot.targets.relax.instructions import (
    Block,
    Branch,
    Instruction,
    flattened,
    freed,
    storages_of_outputs,
)

# Bytes: what sizes are computed in is smaller, and has a place of its own.
_SMALL = 256
_SCRATCH_ALIGNMENT = 64
_HIGHEST_RANK = 64
# Of TVM's functions that read and write shapes: how a dimension is given.
_EQUALS_NUMBER, _STORED, _IGNORED, _EQUALS_SLOT = range(4)

Size = tuple[int, int]
"""A number (0, number), or what a slot holds (1, slot)."""


@dataclasses.dataclass(frozen=True)
class _Tensor:
    number: int


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
        self._kernels: dict[str, int] = {}
        self._regions: dict[str, int] = {}
        self._ranks: list[int] = []
        self._constants: list[Constant] = []
        self._known: dict[Any, _Tensor] = {}
        self._storage_sizes: list[Size] = []
        self._slots = 0
        self._scratch = 0
        self._scratch_of: dict[int, Instruction] = {}
        # Of each tensor: the storages that it may lie in.
        self._places: dict[int, frozenset[int]] = {}
        # Tensors that are allocated and that nothing has written, and those computed from sizes.
        self._unwritten: set[int] = set()
        self._sized: set[int] = set()
        self._block = Block()
        self._data = False

    def program(self) -> Program:
        for parameter in self._main.params:
            self._values[parameter] = self._new_tensor(int(parameter.ty.ndim))
        result = self._run(self._main.body)
        outputs = [self._tensor(each) for each in _fields(result)]
        places = [self._places.get(each.number, frozenset()) for each in outputs]
        planned = self._union(self._sized)
        external = storages_of_outputs(self._block, places, planned)
        kept = self._union(each.number for each in outputs)
        words = flattened(freed(self._block, kept), external)
        return Program(
            version=PROGRAM_VERSION,
            interface=self._interface,
            kernels=tuple(self._kernels),
            regions=tuple(self._regions),
            ranks=tuple(self._ranks),
            outputs=tuple(each.number for each in outputs),
            dynamic_outputs=tuple(at for at in range(len(outputs)) if at not in external.values()),
            storages=len(self._storage_sizes),
            slots=self._slots,
            most_arguments=_most_arguments(self._block),
            scratch=self._scratch,
            constants=tuple(self._constants),
            words=tuple(words),
        )

    # What expressions stand for.

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

    def _tensor(self, expression: Any) -> _Tensor:
        known = isinstance(expression, _Tensor)
        value = expression if known else self._value(expression)
        if not isinstance(value, _Tensor):
            raise CompilationError(f"no tensor, but {type(value).__name__}")
        return value

    def _new_tensor(self, rank: int) -> _Tensor:
        self._ranks.append(rank)
        return _Tensor(len(self._ranks) - 1)

    def _new_slots(self, count: int) -> int:
        self._slots += count
        return self._slots - count

    def _constant(self, constant: ir.GenericConst) -> _Tensor:
        if constant not in self._known:
            array = np.ascontiguousarray(constant.value.numpy())
            tensor = self._new_tensor(array.ndim)
            data = base64.b64encode(array.tobytes()).decode()
            dtype = str(constant.ty.dtype)
            self._constants.append(Constant(tensor.number, dtype, array.shape, data))
            self._sized.add(tensor.number)
            self._known[constant] = tensor
        return self._known[constant]

    # Instructions.

    def _union(self, tensors: Iterable[int]) -> frozenset[int]:
        """The storages that any of some tensors may lie in."""
        places = (self._places.get(tensor, frozenset()) for tensor in tensors)
        return frozenset[int]().union(*places)

    def _emit(self, op: Op, *words: int, tensors: Iterable[int] = ()) -> Instruction:
        instruction = Instruction(op, list(words), self._union(tensors))
        self._block.items.append(instruction)
        return instruction

    def _depend_on_data(self) -> None:
        """From here on sizes depend on what is computed."""
        if not self._data:
            self._data = True
            self._emit(Op.DATA)

    def _call(self, call: ir.Call) -> Any:
        if isinstance(call.op, ir.GlobalVar):
            return self._kernel(call.op.name_hint, [self._argument(each) for each in call.args])
        if isinstance(call.op, relax.ExternFunc):
            name = str(call.op.global_symbol)
            if name.startswith((REGION_PREFIX, NPU_PREFIX)):
                return self._region(name, call)
        else:
            name = str(call.op.name)
        arguments = list(call.args)
        if name == "relax.call_builtin_with_ctx":
            name, arguments = str(arguments[0].global_symbol), list(arguments[1].fields)
        handler = _HANDLERS.get(name)
        if handler is None:
            raise CompilationError(f"the runtime does not have {name}")
        return handler(self, call, arguments)

    def _argument(self, expression: Any) -> tuple[Argument, int]:
        value = self._value(expression)
        if isinstance(value, _Tensor):
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

    def _kernel(self, name: str, arguments: Sequence[tuple[Argument, int]]) -> _Fields:
        tensors = [value for kind, value in arguments if kind == Argument.TENSOR]
        written = [tensor for tensor in tensors if tensor in self._unwritten]
        of_sizes = all(
            tensor in self._sized or (tensor in written and self._has_own_place(tensor))
            for tensor in tensors
        )
        if of_sizes:
            self._sized.update(written)
        self._unwritten.difference_update(written)
        number = self._kernels.setdefault(name, len(self._kernels))
        words = [word for argument in arguments for word in argument]
        op = Op.SIZE_CALL if of_sizes else Op.CALL
        self._emit(op, number, len(arguments), *words, tensors=tensors)
        return _Fields(())

    def _has_own_place(self, tensor: int) -> bool:
        return all(storage in self._scratch_of for storage in self._places[tensor])

    def _allocate_storage(self, _: ir.Call, arguments: Sequence[Any]) -> _Storage:
        (size,) = self._value(arguments[0]).sizes
        storage = len(self._storage_sizes)
        self._storage_sizes.append(size)
        if size[0] == 0 and size[1] <= _SMALL:
            place = self._emit(Op.SCRATCH, storage, self._scratch, size[1])
            self._scratch_of[storage] = place
            self._scratch += -(-max(size[1], 1) // _SCRATCH_ALIGNMENT) * _SCRATCH_ALIGNMENT
        else:
            self._emit(Op.STORAGE, storage, *size)
        return _Storage(storage)

    def _allocate_tensor(self, _: ir.Call, arguments: Sequence[Any]) -> _Tensor:
        storage, offset, shape = (self._value(each) for each in arguments[:3])
        dtype = str(arguments[3].value)
        place = int(offset) if isinstance(offset, int) else int(self._size(arguments[1])[1])
        tensor = self._new_tensor(len(shape.sizes))
        self._places[tensor.number] = frozenset([storage.number])
        self._unwritten.add(tensor.number)
        self._emit(
            Op.TENSOR, tensor.number, storage.number, place, *type_code(dtype),
            len(shape.sizes), *_words(shape.sizes), tensors=[tensor.number],
        )  # fmt: skip
        return tensor

    def _reshape(self, call: ir.Call, arguments: Sequence[Any]) -> _Tensor:
        source, shape = self._tensor(arguments[0]), self._value(arguments[1])
        tensor = self._derived(source, len(shape.sizes))
        dtype = type_code(str(call.ty_args[0].dtype))
        self._emit(
            Op.VIEW, tensor.number, source.number, *dtype, len(shape.sizes),
            *_words(shape.sizes), tensors=[source.number],
        )  # fmt: skip
        return tensor

    def _view(self, _: ir.Call, arguments: Sequence[Any]) -> _Tensor:
        source, shape = self._tensor(arguments[0]), self._value(arguments[1])
        if self._value(arguments[3]) != 0:
            raise CompilationError("a view begins where its tensor does")
        tensor = self._derived(source, len(shape.sizes))
        self._emit(
            Op.VIEW, tensor.number, source.number, *type_code(str(arguments[2].value)),
            len(shape.sizes), *_words(shape.sizes), tensors=[source.number],
        )  # fmt: skip
        return tensor

    def _derived(self, source: _Tensor, rank: int) -> _Tensor:
        """A tensor of the same memory as another."""
        tensor = self._new_tensor(rank)
        self._places[tensor.number] = self._places.get(source.number, frozenset())
        if source.number in self._sized:
            self._sized.add(tensor.number)
        return tensor

    def _heap(self, _: ir.Call, arguments: Sequence[Any]) -> _Heap:
        self._new_slots(int(arguments[0].value))
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
            if isinstance(value, _Tensor):
                slot = given if code == _STORED else self._new_slots(1)
                self._emit(Op.DIMENSION, slot, value.number, axis, tensors=[value.number])
                actual: Size = (1, slot)
            else:
                actual = value.sizes[axis]
                if code == _STORED:
                    self._emit(Op.COPY, given, *actual)
            if code != _STORED:
                stated = (1 if code == _EQUALS_SLOT else 0, given)
                self._emit(Op.MATCH, *stated, *actual)
        return _Fields(())

    def _check_rank(self, _: ir.Call, arguments: Sequence[Any]) -> _Fields:
        tensor, rank = self._tensor(arguments[0]).number, int(arguments[1].value)
        # Of the model's inputs the session knows; -1 stands for any.
        if tensor >= len(self._main.params) and rank >= 0:
            self._emit(Op.RANK, tensor, rank)
        return _Fields(())

    def _match_number(self, _: ir.Call, arguments: Sequence[Any]) -> _Fields:
        value = self._size(arguments[0])
        code, given = int(arguments[2].value), int(arguments[3].value)
        if code == _STORED:
            self._emit(Op.COPY, given, *value)
        elif code != _IGNORED:
            self._emit(Op.MATCH, 1 if code == _EQUALS_SLOT else 0, given, *value)
        return _Fields(())

    def _shape_of(self, _: ir.Call, arguments: Sequence[Any]) -> _Shape:
        tensor = self._tensor(arguments[0])
        rank = self._ranks[tensor.number]
        first = self._new_slots(rank)
        for axis in range(rank):
            self._emit(Op.DIMENSION, first + axis, tensor.number, axis, tensors=[tensor.number])
        return _Shape(tuple((1, first + axis) for axis in range(rank)))

    def _read_shape(self, call: ir.Call, arguments: Sequence[Any]) -> _Shape:
        tensor = self._tensor(arguments[0])
        count = int(call.ty_args[0].ndim)
        if tensor.number not in self._sized:
            self._depend_on_data()
        first = self._new_slots(count)
        self._emit(Op.READ, tensor.number, count, first, tensors=[tensor.number])
        return _Shape(tuple((1, first + at) for at in range(count)))

    def _write_shape(self, _: ir.Call, arguments: Sequence[Any]) -> _Tensor:
        sizes = self._value(arguments[0]).sizes
        count, storage = len(sizes), len(self._storage_sizes)
        size = (0, max(8 * count, 1))
        self._storage_sizes.append(size)
        self._scratch_of[storage] = self._emit(Op.SCRATCH, storage, self._scratch, size[1])
        self._scratch += -(-size[1] // _SCRATCH_ALIGNMENT) * _SCRATCH_ALIGNMENT
        tensor = self._new_tensor(1)
        self._places[tensor.number] = frozenset([storage])
        self._sized.add(tensor.number)
        self._emit(Op.TENSOR, tensor.number, storage, 0, *type_code("int64"), 1, 0, count)
        self._emit(Op.WRITE, tensor.number, count, *_words(sizes))
        return tensor

    def _region(self, name: str, call: ir.Call) -> Any:
        self._depend_on_data()
        inputs = [self._tensor(argument).number for argument in call.args]
        self._unwritten.difference_update(inputs)
        kinds = _kinds(call.ty_args[0]) if name.startswith(REGION_PREFIX) else []
        ranks = [int(kind.ndim) for kind in kinds]
        outputs = [self._new_tensor(_HIGHEST_RANK if rank < 0 else rank) for rank in ranks]
        number = self._regions.setdefault(name, len(self._regions))
        words = [
            word
            for tensor, kind, rank in zip(outputs, kinds, ranks, strict=True)
            for word in (tensor.number, *type_code(str(kind.dtype)), rank)
        ]
        self._emit(Op.REGION, number, len(inputs), len(outputs), *inputs, *words, tensors=inputs)
        if len(outputs) == 1 and not isinstance(call.ty_args[0], relax.TupleType):
            return outputs[0]
        return _Fields(tuple(outputs))

    def _branch(self, branch: relax.If) -> Any:
        self._depend_on_data()
        condition = self._tensor(branch.cond)
        outer = self._block
        blocks, results = [], []
        for body in (branch.true_branch, branch.false_branch):
            self._block = Block()
            results.append([self._tensor(each) for each in _fields(self._run(body))])
            blocks.append(self._block)
        merged = []
        for first, second in zip(*results, strict=True):
            tensor = self._new_tensor(self._ranks[first.number])
            places = [self._places.get(each.number, frozenset()) for each in (first, second)]
            self._places[tensor.number] = places[0] | places[1]
            merged.append(tensor)
        for block, result in zip(blocks, results, strict=True):
            self._block = block
            for tensor, source in zip(merged, result, strict=True):
                self._emit(Op.ALIAS, tensor.number, source.number, tensors=[source.number])
        self._block = outer
        kept = self._union(each.number for each in merged)
        uses = self._union([condition.number])
        self._block.items.append(Branch(condition.number, blocks[0], blocks[1], uses, kept))
        return merged[0] if len(merged) == 1 else _Fields(tuple(merged))

    def _same(self, _: ir.Call, arguments: Sequence[Any]) -> Any:
        return self._value(arguments[0])

    def _nothing(self, _: ir.Call, __: Sequence[Any]) -> _Fields:
        return _Fields(())

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


def _words(sizes: Iterable[Size]) -> list[int]:
    return [word for size in sizes for word in size]


def _fields(value: Any) -> tuple[Any, ...]:
    return value.values if isinstance(value, _Fields) else (value,)


def _kinds(kind: relax.Type) -> list[Any]:
    return list(kind.fields) if isinstance(kind, relax.TupleType) else [kind]


def _most_arguments(block: Block) -> int:
    most = 1
    for item in block.items:
        if isinstance(item, Branch):
            most = max(most, *(_most_arguments(each) for each in item.blocks))
        elif item.op in (Op.CALL, Op.SIZE_CALL):
            most = max(most, item.words[1])
    return most
