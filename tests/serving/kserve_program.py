"""Asks a server by KServe's own clients: ``python kserve_program.py URL GRPC_ADDRESS``.

A program by itself, for the package kserve brings its own versions of what tests need.
"""

from __future__ import annotations

import asyncio
import sys

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

SHAPE = [2, 3, 16, 16]


def request(*, binary: bool) -> InferRequest:
    tensor = InferInput("image", SHAPE, "FP32")
    image = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE) / 1000
    tensor.set_data_from_numpy(image, binary_data=binary)
    return InferRequest(model_name="small", infer_inputs=[tensor])


async def ask(url: str, address: str) -> None:
    rest = InferenceRESTClient(RESTConfig(protocol="v2", retries=1))
    assert await rest.is_server_live(url)
    assert await rest.is_server_ready(url)
    assert await rest.is_model_ready(url, "small")
    answers = [
        (await rest.infer(url, request(binary=binary), model_name="small")).outputs[0].as_numpy()
        for binary in (True, False)
    ]
    try:
        await rest.infer(url, request(binary=True), model_name="other")
    except Exception as error:
        assert "other" in str(error) or "404" in str(error), error
    else:
        raise AssertionError("there is no model of that name")
    await rest.close()
    grpc = InferenceGRPCClient(address)
    assert await grpc.is_server_ready()
    answers.append((await grpc.infer(request(binary=True))).outputs[0].as_numpy())
    await grpc.close()
    for answer in answers:
        assert answer.shape == (2, 10)
        np.testing.assert_allclose(answer, answers[0], rtol=1e-5)
    sys.stdout.write(f"answered {len(answers)}\n")


if __name__ == "__main__":
    asyncio.run(ask(*sys.argv[1:3]))
