"""The CUDA target: the whole graph becomes launches on an NVIDIA GPU."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar

import onnx_ir as ir
import pydantic

from ingot.errors import CompilationError, IngotError, ModelError
from ingot.runtime.cpu_quota import usable_cpus
from ingot.runtime.cuda.architecture import capability
from ingot.runtime.cuda.plan import EXECUTOR, code_member, plan_member
from ingot.runtime.manifest import RegionInfo, TargetInfo, TensorSpec
from ingot.targets.base import Lowered, Target, TargetOptions, Unsupported
from ingot.targets.cuda.nvrtc import compile_source, require_extra
from ingot.targets.relax.importer import has_lowering, import_graph, refused_nodes
from ingot.targets.relax.tvm_internals import plain_reason
from ingot.targets.relax.tvm_threads import use_threads

_REGION = "gpu"
# What kernels are written for: NVRTC 12.9 compiles for less, TVM's code does not work there.
_LEAST = (7, 0)


def _architectures(text: str) -> str:
    """Returns names of architectures, joined by +, in order and each once."""
    names = sorted({name.strip() for name in text.split("+")}, key=capability)
    if capability(names[0]) < _LEAST:
        raise ValueError(f"{names[0]} is older than sm_70")
    return "+".join(names)


class CudaOptions(TargetOptions):
    """Options of the CUDA target.

    Attributes:
        arch: The architectures to make machine code for, ``sm_80+sm_90``.
    """

    arch: Annotated[str, pydantic.AfterValidator(_architectures)] = "sm_80"


class CudaTarget(Target):
    """Machine code for NVIDIA GPUs, by TVM and NVRTC."""

    kind: ClassVar[str] = "cuda"
    summary: ClassVar[str] = "NVIDIA GPUs from sm_70 on, through Relax and NVRTC"
    options_type: ClassVar[type[TargetOptions]] = CudaOptions
    positional: ClassVar[str | None] = "arch"
    batch: ClassVar[int | None] = 1
    may_be_left: ClassVar[bool] = False

    def __init__(self, options: TargetOptions) -> None:
        """Takes validated options."""
        assert isinstance(options, CudaOptions)
        self.options = options

    @property
    def architectures(self) -> tuple[str, ...]:
        """What machine code is made for, the oldest first."""
        return tuple(self.options.arch.split("+"))

    @property
    def spec(self) -> str:
        """The target as one string, defaults filled in."""
        return f"cuda:arch={self.options.arch}"

    @property
    def info(self) -> TargetInfo:
        """The GPU; there is no code for a CPU, so that any may be beside it."""
        return TargetInfo(self.kind, self.spec, "nvptx64", ())

    def knows(self, domain: str, operator: str) -> bool:
        """Whether an operator has a lowering."""
        return has_lowering(domain, operator)

    def unsupported(self, model: ir.Model) -> Sequence[Unsupported]:
        """Returns the nodes that have no lowering, in graph order."""
        with _errors_named():
            return refused_nodes(model)

    def try_lower(self, model: ir.Model, *, machine_code: bool) -> None:
        """Lowers a graph as far as CUDA C, for the sake of the errors alone."""
        from ingot.targets.cuda.lowering import lower_module

        del machine_code
        with _errors_named():
            lower_module(import_graph(model), self.architectures)

    def lower(self, model: ir.Model) -> Lowered:
        """Lowers a graph of fixed sizes to machine code and a plan of launches.

        Raises:
            UnsupportedOperatorError: A node cannot be lowered; names it.
            ModelError: Sizes are not fixed.
            IngotError: The extra ``cuda`` is not installed; says how.
        """
        from ingot.targets.cuda.lowering import lower_module

        require_extra()
        _require_static(model)
        # Folding constants runs kernels: the first of them makes this thread's pool, for good.
        use_threads(usable_cpus())
        marks = [time.perf_counter()]
        with _errors_named():
            lowered = lower_module(import_graph(model), self.architectures)
        marks.append(time.perf_counter())
        images = {each: compile_source(lowered.source, each) for each in self.architectures}
        marks.append(time.perf_counter())
        nodes = tuple(str(node.name) for node in model.graph.all_nodes())
        return Lowered(
            code=None,
            weights={},
            info=self.info,
            placement={
                "cuda": {
                    "executor": EXECUTOR,
                    "architectures": list(self.architectures),
                    "nodes": len(nodes),
                    "launches": len(lowered.plan.launches),
                    "arena_bytes": lowered.plan.arena,
                }
            },
            stage_seconds={"lower": marks[1] - marks[0], "nvrtc": marks[2] - marks[1]},
            regions={_REGION: _region(model, nodes)},
            region_weights=lowered.weights,
            members={
                plan_member(_REGION): lowered.plan.to_json(),
                **{code_member(_REGION, each): image for each, image in images.items()},
            },
        )


def _region(model: ir.Model, nodes: tuple[str, ...]) -> RegionInfo:
    def specs(values: Sequence[ir.Value]) -> tuple[TensorSpec, ...]:
        return tuple(_spec(value) for value in values)

    return RegionInfo(EXECUTOR, nodes, specs(model.graph.inputs), specs(model.graph.outputs))


def _spec(value: ir.Value) -> TensorSpec:
    assert value.shape is not None and value.dtype is not None and value.name is not None
    return TensorSpec(value.name, value.dtype.numpy().name, _sizes(value))


def _sizes(value: ir.Value) -> tuple[int, ...]:
    return tuple(size for size in value.shape or () if isinstance(size, int))


def _require_static(model: ir.Model) -> None:
    for value in (*model.graph.inputs, *model.graph.outputs):
        if value.shape is None or len(_sizes(value)) != len(value.shape):
            raise ModelError(
                f"{value.name!r} has dynamic dimensions {value.shape}, and a GPU's launches are "
                "fixed when the model is compiled: give the inputs' shapes with --shape NAME=SIZES"
            )


@contextlib.contextmanager
def _errors_named() -> Iterator[None]:
    """Makes one line of whatever TVM raises."""
    try:
        yield
    except IngotError:
        raise
    except Exception as error:
        # TVM raises errors of many types from its passes.
        raise CompilationError(f"no code can be made for a GPU: {plain_reason(error)}") from error
