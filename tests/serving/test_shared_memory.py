"""Tensors in memory that clients share, by the protocol's official clients."""

from __future__ import annotations

from collections.abc import Iterator
from multiprocessing import shared_memory
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
import tritonclient.utils.shared_memory as triton_memory
from tritonclient.utils import InferenceServerException

from ingot.compiler.build import Artifact
from ingot.runtime.session import Session
from ingot.serving.requests import RefusedError
from ingot.serving.shared_memory import Piece, Region, SharedMemory
from tests.serving.running import Running, running


@pytest.mark.parametrize("module", [triton_http, triton_grpc])
def test_inputs_and_outputs_in_shared_memory(
    served: Running, small_artifact: Artifact, module: Any
) -> None:
    address = served.address if module is triton_http else f"127.0.0.1:{served.grpc_port}"
    images = np.random.default_rng(0).normal(size=(2, 3, 16, 16)).astype(np.float32)
    with Session(small_artifact.path, threads=1) as session:
        expected = session.run(images)["logits"]
    size = images.nbytes + expected.nbytes
    name = f"ingot_test_{module.__name__.rpartition('.')[2]}"
    handle = triton_memory.create_shared_memory_region(name, f"/{name}", size)
    client = module.InferenceServerClient(address)
    try:
        triton_memory.set_shared_memory_region(handle, [images])
        client.register_system_shared_memory(name, f"/{name}", size)
        assert name in str(client.get_system_shared_memory_status())
        given = module.InferInput("image", images.shape, "FP32")
        given.set_shared_memory(name, images.nbytes)
        wanted = module.InferRequestedOutput("logits")
        wanted.set_shared_memory(name, expected.nbytes, offset=images.nbytes)
        client.infer("small", [given], outputs=[wanted])
        got = triton_memory.get_contents_as_numpy(
            handle, np.float32, expected.shape, offset=images.nbytes
        )
        np.testing.assert_allclose(got, expected, rtol=1e-5)
        wanted.set_shared_memory(name, 4, offset=images.nbytes)
        with pytest.raises(InferenceServerException, match="an output takes 80 bytes"):
            client.infer("small", [given], outputs=[wanted])
        client.unregister_system_shared_memory(name)
        with pytest.raises(InferenceServerException, match="there is no region"):
            client.infer("small", [given])
    finally:
        client.close()
        triton_memory.destroy_shared_memory_region(handle)


def test_none_is_taken_unless_the_server_was_told_to(small_artifact: Artifact) -> None:
    with running(f"small={small_artifact.path}") as server:
        body = {"key": "/x", "offset": 0, "byte_size": 8}
        status, _, said = server.ask("POST", "/v2/systemsharedmemory/region/a/register", body)
    assert status == 400
    assert b"without --shared-memory" in said


@pytest.fixture
def block() -> Iterator[shared_memory.SharedMemory]:
    made = shared_memory.SharedMemory(create=True, size=64)
    yield made
    made.close()
    made.unlink()


def test_a_region_is_bounded(block: shared_memory.SharedMemory) -> None:
    memory = SharedMemory(allowed=True)
    memory.register(Region("a", block.name, 16, 32))
    block.buf[16:20] = b"abcd"
    assert memory.read(Piece("a", 0, 4)) == b"abcd"
    memory.write(Piece("a", 4, 4), b"efgh")
    assert bytes(block.buf[20:24]) == b"efgh"
    for piece in (Piece("a", 0, 33), Piece("a", 32, 1), Piece("b", 0, 1)):
        with pytest.raises(RefusedError):
            memory.read(piece)
    for region in (Region("a", block.name, 0, 8), Region("b", block.name, 0, 1 << 40)):
        with pytest.raises(RefusedError):
            memory.register(region)
    memory.unregister()
    assert memory.regions() == []


@pytest.mark.parametrize("key", ["", "/", "../etc/passwd", "a/b", "..", "/no-such-object", "a\0b"])
def test_a_key_names_an_object_and_nothing_else(key: str) -> None:
    with pytest.raises(RefusedError):
        SharedMemory(allowed=True).register(Region("a", key, 0, 1))


def test_a_region_that_was_shortened_is_said(block: shared_memory.SharedMemory) -> None:
    import os

    memory = SharedMemory(allowed=True)
    memory.register(Region("a", block.name, 0, 64))
    os.truncate(f"/dev/shm/{block.name.lstrip('/')}", 8)
    with pytest.raises(RefusedError, match="was shortened"):
        memory.read(Piece("a", 0, 64))
    with pytest.raises(RefusedError, match="was shortened"):
        memory.write(Piece("a", 0, 64), bytes(64))
    memory.unregister()
