"""NVIDIA's driver, by ctypes: ``libcuda.so.1``, which comes with the driver and nothing else does.

Functions are those of the CUDA driver API (cuda.h), by the names that the library exports. The
driver itself hides devices that ``CUDA_VISIBLE_DEVICES`` does not list, and counts those left.
"""

from __future__ import annotations

import ctypes
import dataclasses
import os
from collections.abc import Sequence
from typing import Any

from ingot.errors import DeviceError

LIBRARY = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*
_DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
_STATIC_SHARED_LIMIT = 48 << 10
_NO_DEVICE = 100
_NAME_BYTES = 256


@dataclasses.dataclass(frozen=True)
class DeviceFacts:
    """A device.

    Attributes:
        index: Its number among those that the process sees.
        name: Its name.
        capability: Its compute capability.
    """

    index: int
    name: str
    capability: tuple[int, int]

    def __str__(self) -> str:
        """Returns the device as ``device 0 (NVIDIA H200, sm_90)``."""
        major, minor = self.capability
        return f"device {self.index} ({self.name}, sm_{major}{minor})"


class Driver:
    """The driver's library.

    Raises:
        DeviceError: There is no driver on this machine, or it does not start.
    """

    def __init__(self) -> None:
        """Loads and starts the driver."""
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise DeviceError(
                f"there is no NVIDIA driver on this machine ({LIBRARY} cannot be loaded): install "
                "it, or compile the model with --target cpu"
            ) from error
        try:
            self.call("cuInit", 0)
        except DeviceError as error:
            raise DeviceError(f"the NVIDIA driver does not start: {error}") from error

    def call(self, name: str, *arguments: Any) -> None:
        """Calls a function of the driver.

        Raises:
            DeviceError: It fails; says what the driver says.
        """
        status = int(getattr(self._library, name)(*arguments))
        if status:
            raise DeviceError(f"{name}: {self._reason(status)}")

    def device_count(self) -> int:
        """Returns how many devices the process sees."""
        count = ctypes.c_int()
        self.call("cuDeviceGetCount", ctypes.byref(count))
        return count.value

    def device(self, index: int) -> DeviceFacts:
        """Returns a device's facts.

        Raises:
            DeviceError: The process sees no such device.
        """
        count = self.device_count()
        if not 0 <= index < count:
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            because = "" if visible is None else f" (CUDA_VISIBLE_DEVICES={visible})"
            seen = f"{count} device{'s' * (count != 1)}"
            raise DeviceError(f"there is no CUDA device {index}: this process sees {seen}{because}")
        handle = self._handle(index)
        name = ctypes.create_string_buffer(_NAME_BYTES)
        self.call("cuDeviceGetName", name, _NAME_BYTES, handle)
        parts = []
        for attribute in (_MAJOR, _MINOR):
            value = ctypes.c_int()
            self.call("cuDeviceGetAttribute", ctypes.byref(value), attribute, handle)
            parts.append(value.value)
        return DeviceFacts(index, name.value.decode(errors="replace"), (parts[0], parts[1]))

    def context(self, index: int) -> DeviceContext:
        """Returns the primary context of a device, which other libraries of the process share."""
        handle = self._handle(index)
        context = ctypes.c_void_p()
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), handle)
        return DeviceContext(self, handle, context)

    def _handle(self, index: int) -> ctypes.c_int:
        handle = ctypes.c_int()
        self.call("cuDeviceGet", ctypes.byref(handle), index)
        return handle

    def _reason(self, status: int) -> str:
        text = ctypes.c_char_p()
        self._library.cuGetErrorString(status, ctypes.byref(text))
        return (text.value or b"an unknown error").decode(errors="replace") + f" ({status})"


class DeviceContext:
    """A device in use: its memory, modules and one stream.

    Args:
        driver: The driver.
        device: The driver's handle of the device.
        context: The context.
    """

    def __init__(self, driver: Driver, device: ctypes.c_int, context: ctypes.c_void_p) -> None:
        self._driver = driver
        self._device = device
        self._context = context

    def use(self) -> None:
        """Makes this the calling thread's context, as every call below needs it."""
        self._driver.call("cuCtxSetCurrent", self._context)

    def release(self) -> None:
        """Gives the context back; what was allocated in it has to be freed before."""
        self._driver.call("cuDevicePrimaryCtxRelease_v2", self._device)

    def free_bytes(self) -> int:
        """Returns how many bytes of the device's memory are free."""
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self._driver.call("cuMemGetInfo_v2", ctypes.byref(free), ctypes.byref(total))
        return free.value

    def allocate(self, size: int) -> int:
        """Returns the address of so many bytes of device memory."""
        address = ctypes.c_uint64()
        self._driver.call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(size, 1)))
        return address.value

    def free(self, address: int) -> None:
        """Frees what was allocated."""
        self._driver.call("cuMemFree_v2", ctypes.c_uint64(address))

    def upload(self, address: int, source: int, size: int) -> None:
        """Copies bytes of this process's memory to the device, and waits."""
        pointers = ctypes.c_uint64(address), ctypes.c_void_p(source), ctypes.c_size_t(size)
        self._driver.call("cuMemcpyHtoD_v2", *pointers)

    def download(self, destination: int, address: int, size: int) -> None:
        """Copies bytes of the device to this process's memory, behind all launches."""
        pointers = ctypes.c_void_p(destination), ctypes.c_uint64(address), ctypes.c_size_t(size)
        self._driver.call("cuMemcpyDtoH_v2", *pointers)

    def load(self, image: bytes) -> ctypes.c_void_p:
        """Loads machine code."""
        module = ctypes.c_void_p()
        self._driver.call("cuModuleLoadData", ctypes.byref(module), image)
        return module

    def unload(self, module: ctypes.c_void_p) -> None:
        """Unloads machine code."""
        self._driver.call("cuModuleUnload", module)

    def kernel(self, module: ctypes.c_void_p, name: str, shared: int) -> ctypes.c_void_p:
        """Returns a kernel, which may take so many bytes of dynamic shared memory."""
        function = ctypes.c_void_p()
        self._driver.call("cuModuleGetFunction", ctypes.byref(function), module, name.encode())
        if shared > _STATIC_SHARED_LIMIT:
            self._driver.call("cuFuncSetAttribute", function, _DYNAMIC_SHARED, shared)
        return function

    def launch(
        self,
        kernel: ctypes.c_void_p,
        grid: Sequence[int],
        block: Sequence[int],
        shared: int,
        arguments: ctypes.Array[ctypes.c_void_p],
    ) -> None:
        """Launches a kernel on the default stream.

        Args:
            kernel: The kernel.
            grid: Blocks along x, y and z.
            block: Threads of a block along x, y and z.
            shared: Bytes of dynamic shared memory.
            arguments: A pointer to each of its arguments.
        """
        self._driver.call("cuLaunchKernel", kernel, *grid, *block, shared, None, arguments, None)
