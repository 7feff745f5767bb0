"""The protocol's official client against a running server."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from ingot.compiler.build import Artifact
from ingot.runtime.session import Session
from tests.serving.running import Running


@pytest.fixture
def client(served: Running) -> Iterator[triton.InferenceServerClient]:
    made = triton.InferenceServerClient(served.address)
    yield made
    made.close()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 3, 16, 16)).astype(np.float32)


@pytest.fixture(scope="module")
def expected(small_artifact: Artifact, images: np.ndarray) -> np.ndarray:
    with Session(small_artifact.path, threads=1) as session:
        return session.run(images)["logits"]


def test_health(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("small")
    assert client.is_model_ready("small", "1")
    assert not client.is_model_ready("other")


def test_metadata(client: triton.InferenceServerClient) -> None:
    assert client.get_server_metadata()["name"] == "ingot"
    assert client.get_model_metadata("small") == {
        "name": "small",
        "versions": ["1"],
        "platform": "ingot",
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 3, 16, 16]}],
        "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 10]}],
    }


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_inference(
    client: triton.InferenceServerClient,
    images: np.ndarray,
    expected: np.ndarray,
    binary_in: bool,
    binary_out: bool,
) -> None:
    given = triton.InferInput("image", images.shape, "FP32")
    given.set_data_from_numpy(images, binary_data=binary_in)
    wanted = triton.InferRequestedOutput("logits", binary_data=binary_out)
    result = client.infer("small", [given], outputs=[wanted], request_id="7")
    assert result.get_response()["id"] == "7"
    np.testing.assert_allclose(result.as_numpy("logits"), expected, rtol=1e-5)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_packed_bodies(
    client: triton.InferenceServerClient,
    images: np.ndarray,
    expected: np.ndarray,
    encoding: str,
) -> None:
    given = triton.InferInput("image", images.shape, "FP32")
    given.set_data_from_numpy(images)
    result = client.infer(
        "small",
        [given],
        request_compression_algorithm=encoding,
        response_compression_algorithm=encoding,
    )
    np.testing.assert_allclose(result.as_numpy("logits"), expected, rtol=1e-5)


def test_many_at_once(served: Running, images: np.ndarray, expected: np.ndarray) -> None:
    client = triton.InferenceServerClient(served.address, concurrency=8)
    inputs = []
    for image in images:
        given = triton.InferInput("image", (1, 3, 16, 16), "FP32")
        given.set_data_from_numpy(image[None])
        inputs.append(given)
    waiting = [client.async_infer("small", [inputs[i % 3]]) for i in range(60)]
    for i, each in enumerate(waiting):
        np.testing.assert_allclose(
            each.get_result().as_numpy("logits")[0], expected[i % 3], rtol=1e-5, atol=1e-6
        )
    client.close()


def test_an_error_says_what_is_wrong(client: triton.InferenceServerClient) -> None:
    given = triton.InferInput("picture", (1, 3, 16, 16), "FP32")
    given.set_data_from_numpy(np.zeros((1, 3, 16, 16), np.float32))
    with pytest.raises(InferenceServerException, match="no input is called picture"):
        client.infer("small", [given])
    with pytest.raises(InferenceServerException, match="there is no model 'other'"):
        client.infer("other", [given])


def test_statistics_and_index(client: triton.InferenceServerClient) -> None:
    (statistics,) = client.get_inference_statistics("small")["model_stats"]
    assert statistics["inference_stats"]["success"]["count"] > 0
    (entry,) = client.get_model_repository_index()
    assert (entry["name"], entry["state"]) == ("small", "READY")


def test_a_model_is_replaced_unloaded_and_loaded(client: triton.InferenceServerClient) -> None:
    client.load_model("small")
    assert client.is_model_ready("small")
    client.unload_model("small")
    assert not client.is_model_ready("small")
    client.load_model("small")
    assert client.is_model_ready("small")
