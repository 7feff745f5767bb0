"""The protocol's messages, of a pool of their own.

Clients of the same protocol register the same names in Python's default pool, which holds each only
once: with our own, a program may use theirs and ours.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_FILE = Path(__file__).with_name("open_inference.binpb")
_PACKAGE = "inference"
SERVICE = f"{_PACKAGE}.GRPCInferenceService"


@functools.cache
def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(_FILE.read_bytes()).file:
        pool.Add(file)
    return pool


@functools.cache
def message(name: str) -> Any:
    """Returns the class of a message by its name within the package."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{_PACKAGE}.{name}"))


@functools.cache
def methods() -> dict[str, tuple[Any, Any, bool]]:
    """Request and response class of each method, and whether both are streams."""
    service = _pool().FindServiceByName(SERVICE)
    return {
        method.name: (
            message(method.input_type.name),
            message(method.output_type.name),
            method.client_streaming,
        )
        for method in service.methods
    }
