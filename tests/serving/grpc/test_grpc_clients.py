"""The protocol's official gRPC clients against a running server."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

from ingot.compiler.build import Artifact
from ingot.runtime.session import Session
from tests.serving.running import Running, running


@pytest.fixture(scope="module")
def address(served: Running) -> str:
    return f"127.0.0.1:{served.grpc_port}"


@pytest.fixture
def client(address: str) -> Iterator[triton.InferenceServerClient]:
    made = triton.InferenceServerClient(address)
    yield made
    made.close()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 3, 16, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def expected(small_artifact: Artifact, images: np.ndarray) -> np.ndarray:
    with Session(small_artifact.path, threads=1) as session:
        return session.run(images)["logits"]


def given(images: np.ndarray, module: Any = triton) -> list[Any]:
    tensor = module.InferInput("image", images.shape, "FP32")
    tensor.set_data_from_numpy(images)
    return [tensor]


def test_health_and_metadata(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("small")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata().name == "ingot"
    metadata = client.get_model_metadata("small", as_json=True)
    assert metadata["inputs"] == [
        {"name": "image", "datatype": "FP32", "shape": ["-1", "3", "16", "16"]}
    ]


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_inference(
    client: triton.InferenceServerClient,
    images: np.ndarray,
    expected: np.ndarray,
    compression: str | None,
) -> None:
    result = client.infer("small", given(images), request_id="7", compression_algorithm=compression)
    assert result.get_response().id == "7"
    np.testing.assert_allclose(result.as_numpy("logits"), expected, rtol=1e-5)


def test_the_asynchronous_client(address: str, images: np.ndarray, expected: np.ndarray) -> None:
    async def ask() -> list[Any]:
        async with triton_aio.InferenceServerClient(address) as client:
            assert await client.is_server_ready()
            asked = [client.infer("small", given(images, triton_aio)) for _ in range(20)]
            return await asyncio.gather(*asked)

    for result in asyncio.run(ask()):
        np.testing.assert_allclose(result.as_numpy("logits"), expected, rtol=1e-5)


def test_a_stream_is_answered_in_order_errors_included(
    client: triton.InferenceServerClient, images: np.ndarray, expected: np.ndarray
) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: answers.put(error or result))
    for i in range(30):
        name = "other" if i == 5 else "small"
        client.async_stream_infer(name, given(images[i % 3 :][:1]), request_id=str(i))
    for i in range(30):
        answer = answers.get(timeout=30)
        if i == 5:
            assert isinstance(answer, InferenceServerException)
            continue
        assert answer.get_response().id == str(i)
        np.testing.assert_allclose(
            answer.as_numpy("logits")[0], expected[i % 3], rtol=1e-5, atol=1e-6
        )
    client.stop_stream()


def test_errors_have_their_codes(client: triton.InferenceServerClient, images: np.ndarray) -> None:
    with pytest.raises(InferenceServerException, match="there is no model 'other'") as raised:
        client.infer("other", given(images))
    assert raised.value.status() == "StatusCode.NOT_FOUND"
    tensor = triton.InferInput("picture", images.shape, "FP32")
    tensor.set_data_from_numpy(images)
    with pytest.raises(InferenceServerException, match="no input is called picture") as raised:
        client.infer("small", [tensor])
    assert raised.value.status() == "StatusCode.INVALID_ARGUMENT"
    large = np.zeros((400, 3, 16, 16), np.float32)
    with pytest.raises(InferenceServerException) as raised:
        client.infer("small", given(large))
    assert raised.value.status() == "StatusCode.RESOURCE_EXHAUSTED"


def test_repository_and_statistics(client: triton.InferenceServerClient) -> None:
    client.load_model("small")
    index = client.get_model_repository_index(as_json=True)
    assert index["models"] == [{"name": "small", "version": "1", "state": "READY"}]
    (statistics,) = client.get_inference_statistics("small", as_json=True)["model_stats"]
    assert statistics["name"] == "small"


def test_a_token_is_needed(small_artifact: Artifact, images: np.ndarray) -> None:
    with running(f"small={small_artifact.path}", "--token", "secret") as server:
        client = triton.InferenceServerClient(f"127.0.0.1:{server.grpc_port}")
        assert client.is_server_live()
        with pytest.raises(InferenceServerException, match="a valid bearer token"):
            client.infer("small", given(images))
        client.infer("small", given(images), headers={"authorization": "Bearer secret"})
        answers: queue.Queue[Any] = queue.Queue()
        client.start_stream(lambda result, error: answers.put(error))
        assert "bearer token" in str(answers.get(timeout=30))
        client.close()
