"""Ray Serve with its batching."""

from __future__ import annotations

import os
import signal
from typing import Any

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.serving_peers.inference import FACTS, Model


@serve.deployment(max_ongoing_requests=1024)
class Inference:
    """Answers requests."""

    def __init__(self) -> None:
        self.model = Model()

    @serve.batch(max_batch_size=FACTS["batch"], batch_wait_timeout_s=FACTS["delay"])
    async def run(self, requests: list[Any]) -> list[bytes]:
        """Runs a batch."""
        return self.model.run(requests)

    async def __call__(self, request: Request) -> Response:
        """Answers a request."""
        return Response(await self.run(self.model.read(await request.body())))


if __name__ == "__main__":
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"port": int(os.environ["PEER_PORT"])})
    serve.run(Inference.bind(), route_prefix="/")
    signal.pause()
