"""A plain application on uvicorn: no batching, inference beside the event loop."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import uvicorn

from benchmarks.serving_peers.inference import Model

MODEL = Model()


async def application(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001
    """Answers a request."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    (answer,) = await asyncio.to_thread(MODEL.run, [MODEL.read(body)])
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", str(len(answer)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": answer})


if __name__ == "__main__":
    uvicorn.run(
        application,
        port=int(os.environ["PEER_PORT"]),
        lifespan="off",
        access_log=False,
        log_level="error",
    )
