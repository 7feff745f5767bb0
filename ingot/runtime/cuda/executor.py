"""Runs the regions of an artifact that are for an NVIDIA GPU."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ingot.errors import ArtifactError, DeviceError, InputError
from ingot.runtime.artifact import ArtifactReader
from ingot.runtime.cuda.architecture import best_architecture
from ingot.runtime.cuda.device import require_device
from ingot.runtime.cuda.driver import DeviceContext, DeviceFacts, Driver
from ingot.runtime.cuda.plan import (
    ARENA,
    WEIGHTS,
    Buffer,
    Check,
    Launch,
    Plan,
    code_member,
    plan_member,
)
from ingot.runtime.manifest import RegionInfo, TensorSpec

Array = npt.NDArray[Any]


class CudaExecutor:
    """A region on a GPU: its weights and its memory are there from now on.

    Args:
        info: What the manifest says of the region.
        plan: Its launches.
        image: Its machine code, for the device.
        weights: The weights of the artifact, by name.
        context: The device.
    """

    def __init__(
        self,
        info: RegionInfo,
        plan: Plan,
        image: bytes,
        weights: Mapping[str, Array],
        context: DeviceContext,
    ) -> None:
        self._info = info
        self._plan = plan
        self._context = context
        self._module: ctypes.c_void_p | None = None
        self._blocks: dict[int, int] = {}
        try:
            self._load(plan, image, weights)
        except BaseException:
            self.close()
            raise

    def _load(self, plan: Plan, image: bytes, weights: Mapping[str, Array]) -> None:
        context = self._context
        context.use()
        self._module = context.load(image)
        shared = [0] * len(plan.kernels)
        for launch in plan.launches:
            shared[launch.kernel] = max(shared[launch.kernel], launch.shared)
        self._kernels = [
            context.kernel(self._module, name, size)
            for name, size in zip(plan.kernels, shared, strict=True)
        ]
        self._blocks[WEIGHTS] = context.allocate(plan.weight_bytes)
        self._blocks[ARENA] = context.allocate(plan.arena)
        for weight in plan.weights:
            self._upload(weight.buffer, weights[weight.name])
        for constant in plan.constants:
            self._upload(constant.buffer, np.frombuffer(constant.contents(), np.uint8))
        self._arguments = [self._pointers(launch) for launch in plan.launches]

    def run(self, inputs: Sequence[Any]) -> list[Any]:
        """Runs the region once; see :class:`ingot.runtime.hosting.Executor`.

        Raises:
            InputError: A value is out of its range; nothing has run then.
            DeviceError: The device fails; says what the driver says.
        """
        plan, context = self._plan, self._context
        for check in plan.checks:
            _require_bounds(check, inputs[check.input])
        context.use()
        for buffer, value in zip(plan.inputs, inputs, strict=True):
            self._upload(buffer, value)
        for launch, (pointers, _) in zip(plan.launches, self._arguments, strict=True):
            kernel = self._kernels[launch.kernel]
            context.launch(kernel, launch.grid, launch.block, launch.shared, pointers)
        results = []
        for buffer, spec in zip(plan.outputs, self._info.outputs, strict=True):
            result = np.empty(_sizes(spec), spec.dtype)
            context.download(result.ctypes.data, self._address(buffer.address), buffer.size)
            results.append(result)
        return results

    def close(self) -> None:
        """Frees what the region has on the device."""
        self._context.use()
        while self._blocks:
            self._context.free(self._blocks.popitem()[1])
        if self._module is not None:
            self._context.unload(self._module)
            self._module = None
        self._context.release()

    def _upload(self, buffer: Buffer, array: Array) -> None:
        contiguous = np.ascontiguousarray(array)
        if contiguous.nbytes != buffer.size:
            raise ArtifactError(
                f"the artifact's plan is damaged: {buffer.size} bytes for {contiguous.nbytes}"
            )
        address = self._address(buffer.address)
        self._context.upload(address, contiguous.ctypes.data, buffer.size)

    def _address(self, address: tuple[int, int]) -> int:
        return self._blocks[address[0]] + address[1]

    def _pointers(
        self, launch: Launch
    ) -> tuple[ctypes.Array[ctypes.c_void_p], ctypes.Array[ctypes.c_uint64]]:
        """What a launch is given: a pointer to each argument, and the arguments, kept alive."""
        count = len(launch.arguments)
        values = (ctypes.c_uint64 * count)(*map(self._address, launch.arguments))
        first = ctypes.addressof(values)
        size = ctypes.sizeof(ctypes.c_uint64)
        return (ctypes.c_void_p * count)(*range(first, first + size * count, size)), values


def _require_bounds(check: Check, values: Array) -> None:
    if not values.size:
        return
    least, most = int(values.min()), int(values.max())
    if least < check.low or most >= check.high:
        worst = most if most >= check.high else least
        raise InputError(check.message.format(worst, check.low, check.high, check.high - 1))


def _sizes(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(int(size) for size in spec.shape)


def make_executors(
    regions: Mapping[str, RegionInfo],
    reader: ArtifactReader,
    weights: Mapping[str, Array],
    threads: int,
    _: str | None,
) -> dict[str, CudaExecutor]:
    """Makes the executors of an artifact's regions for a GPU.

    Raises:
        ArtifactError: A region is damaged.
        DeviceError: There is no driver, no device that the code is for, or too little free memory.
    """
    del threads  # a GPU has its own
    plans = {name: _plan(reader, name, info, weights) for name, info in regions.items()}
    driver = Driver()
    executors = {}
    for name, plan in plans.items():
        facts = require_device(driver, plan.architectures, 0)
        architecture = best_architecture(plan.architectures, facts.capability)
        assert architecture is not None
        image = bytes(reader.member(code_member(name, architecture)))
        context = driver.context(facts.index)
        try:
            _require_memory(context, plan, facts)
        except BaseException:
            context.release()
            raise
        executors[name] = CudaExecutor(regions[name], plan, image, weights, context)
    return executors


def _plan(
    reader: ArtifactReader, name: str, info: RegionInfo, weights: Mapping[str, Array]
) -> Plan:
    plan = Plan.from_json(reader.member(plan_member(name)))
    for specs, buffers in (info.inputs, plan.inputs), (info.outputs, plan.outputs):
        stated = [
            int(np.prod(_sizes(spec), dtype=np.int64)) * np.dtype(spec.dtype).itemsize
            for spec in specs
        ]
        if stated != [buffer.size for buffer in buffers]:
            raise ArtifactError(
                f"{reader.path} is damaged: region {name} takes or makes other tensors than its "
                "manifest says"
            )
    for weight in plan.weights:
        if weight.name not in weights:
            raise ArtifactError(f"{reader.path} is damaged: it has no weight {weight.name}")
    return plan


def _require_memory(context: DeviceContext, plan: Plan, facts: DeviceFacts) -> None:
    context.use()
    needed, free = plan.arena + plan.weight_bytes, context.free_bytes()
    if needed > free:
        context.release()
        raise DeviceError(
            f"the model needs {needed / 2**20:.0f} MiB of memory of {facts}, of which "
            f"{free / 2**20:.0f} MiB are free: end what else uses it, or choose another device"
        )
