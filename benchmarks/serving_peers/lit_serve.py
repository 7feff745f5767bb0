"""LitServe with its batching. Its requests are JSON: tensors come as base64."""

from __future__ import annotations

import base64
import os
from typing import Any

import litserve
from fastapi import Response

from benchmarks.serving_peers.inference import FACTS, Model


class Api(litserve.LitAPI):  # type: ignore[misc]
    """Answers requests."""

    def setup(self, device: str) -> None:  # noqa: ARG002
        """Loads the model."""
        self.model = Model()

    def decode_request(self, request: dict[str, str]) -> Any:
        """Reads a request."""
        return self.model.read(base64.b64decode(request["tensors"]))

    def batch(self, inputs: list[Any]) -> Any:
        """Leaves joining to the model."""
        return inputs

    def predict(self, inputs: Any) -> Any:
        """Runs a batch."""
        return self.model.run(inputs)

    def unbatch(self, output: Any) -> Any:
        """Answers are parted already."""
        return output

    def encode_response(self, output: bytes) -> Response:
        """Writes an answer."""
        return Response(content=output, media_type="application/octet-stream")


if __name__ == "__main__":
    api = Api(max_batch_size=FACTS["batch"], batch_timeout=FACTS["delay"])
    server = litserve.LitServer(api, accelerator="cpu", fast_queue=True)
    server.run(
        port=int(os.environ["PEER_PORT"]), generate_client_file=False, log_level="error",
        api_server_worker_type="thread",
    )  # fmt: skip
