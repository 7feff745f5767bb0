"""From scheduled prim funcs to CUDA C, and how each prim func launches its kernels.

TVM splits a prim func into a function for the host and kernels. Sizes are fixed here, so the host's
part is no code at all: it is read once, as a list of launches and of memory between them.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import tvm
import tvm_ffi
from tvm import ir, tirx
from tvm.tirx import stmt as statements

from ingot.errors import CompilationError

_LAUNCH = "tirx.call_ffi_kernel"
_DATA = "tirx.buffer_data"
_SPLIT = "tirx.SplitHostDevice"
_SHARED = "tirx.use_dyn_shared_memory"
_AXES = ("x", "y", "z")


@dataclasses.dataclass(frozen=True)
class KernelLaunch:
    """A launch that a prim func makes.

    Attributes:
        kernel: The kernel's name.
        grid: Blocks along x, y and z.
        block: Threads of a block along x, y and z.
        shared: Bytes of dynamic shared memory.
        arguments: For each argument the number of the prim func's parameter, or behind those of a
            piece of its workspace.
    """

    kernel: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int
    arguments: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class HostPart:
    """What a prim func does on the host.

    Attributes:
        parameters: How many tensors it takes.
        workspace: Bytes of each tensor that it has between its kernels.
        launches: Its launches, in order.
    """

    parameters: int
    workspace: tuple[int, ...]
    launches: tuple[KernelLaunch, ...]


@dataclasses.dataclass(frozen=True)
class Kernels:
    """The kernels of a module.

    Attributes:
        source: CUDA C of all of them.
        hosts: What each prim func does on the host, by its name.
    """

    source: str
    hosts: dict[str, HostPart]


@tvm.ir.instrument.pass_instrument
class _AfterSplit:
    """Keeps the module as it is when hosts and kernels have been split."""

    def __init__(self) -> None:
        self.module: tvm.IRModule | None = None

    def run_after_pass(self, module: tvm.IRModule, info: Any) -> None:
        if str(info.name) == _SPLIT:
            self.module = module


def generate_kernels(module: tvm.IRModule, target: tvm.target.Target) -> Kernels:
    """Generates CUDA C.

    Args:
        module: Scheduled prim funcs of fixed sizes.
        target: What they are for.

    Raises:
        CompilationError: A prim func does more on the host than launching kernels.
    """
    pipeline, _, finalize = tirx.get_default_tir_pipeline(target)
    keeper = _AfterSplit()
    with tvm.transform.PassContext(instruments=[keeper]):
        packed = pipeline(tirx.transform.BindTarget(target)(module))
    assert keeper.module is not None, "the pipeline splits hosts from kernels"
    device = tirx.transform.Filter(lambda function: _is_kernel(function))(packed)
    built = tvm.get_global_func("target.build.cuda")(finalize()(device), target)
    hosts = {
        variable.name_hint: _host_part(variable.name_hint, function)
        for variable, function in keeper.module.functions_items()
        if not _is_kernel(function)
    }
    return Kernels(str(built.inspect_source()), hosts)


def _is_kernel(function: tirx.PrimFunc) -> bool:
    return str(function.attrs["target"].kind.name) == "cuda" and "calling_conv" in function.attrs


def _host_part(name: str, function: tirx.PrimFunc) -> HostPart:
    numbers = {parameter: number for number, parameter in enumerate(function.params)}
    parameters = len(numbers)
    workspace: list[int] = []
    launches: list[KernelLaunch] = []

    def allocate(statement: Any) -> None:
        numbers[statement.buffer] = len(numbers)
        workspace.append(_bytes(name, statement.buffer))

    tvm_ffi.structural_walk(function.body, (statements.AllocBuffer, allocate))
    numbered = dict(numbers)

    def rename(statement: Any) -> None:
        numbered[statement.buffer] = _tensor(name, statement.data, numbered)

    def launch(call: ir.Call) -> None:
        if str(getattr(call.op, "name", "")) == _LAUNCH:
            launches.append(_launch(name, call, numbered))

    tvm_ffi.structural_walk(function.body, (statements.DeclBuffer, rename))
    tvm_ffi.structural_walk(function.body, (ir.Call, launch))
    if not launches:
        raise CompilationError(f"{name} has no schedule for a GPU")
    return HostPart(parameters, tuple(workspace), tuple(launches))


def _tensor(name: str, data: Any, numbers: dict[Any, int]) -> int:
    """The number of the tensor whose memory an expression is."""
    of_buffer = isinstance(data, ir.Call) and str(getattr(data.op, "name", "")) == _DATA
    if not of_buffer or data.args[0] not in numbers:
        raise CompilationError(f"{name} gives a kernel {data}, which is no tensor")
    return numbers[data.args[0]]


def _bytes(name: str, buffer: tirx.Buffer) -> int:
    sizes = [_number(name, size) for size in buffer.shape]
    bits = tvm.DataType(str(buffer.dtype)).bits
    return math.prod(sizes) * -(-int(bits) // 8)


def _launch(name: str, call: ir.Call, numbers: dict[Any, int]) -> KernelLaunch:
    kernel, *given = call.args
    tags = [str(tag) for tag in call.attrs["launch_params"]]
    arguments = given[: len(given) - len(tags)]
    extents = dict(zip(tags, given[len(arguments) :], strict=True))
    shared = extents.pop(_SHARED, None)
    return KernelLaunch(
        kernel=str(kernel.value),
        grid=_extents(name, "blockIdx", extents),
        block=_extents(name, "threadIdx", extents),
        shared=0 if shared is None else _number(name, shared),
        arguments=tuple(_tensor(name, each, numbers) for each in arguments),
    )


def _extents(name: str, prefix: str, extents: dict[str, Any]) -> tuple[int, int, int]:
    x, y, z = (_number(name, extents.get(f"{prefix}.{axis}", 1)) for axis in _AXES)
    return x, y, z


def _number(name: str, value: Any) -> int:
    if isinstance(value, (int, tirx.IntImm)):
        return int(value)
    raise CompilationError(f"{name} has sizes that are not fixed: {value}")
