"""Mosec with its batching."""

from __future__ import annotations

from mosec import Server, Worker

from benchmarks.serving_peers.inference import FACTS, Model


class Inference(Worker):  # type: ignore[misc]
    """Runs batches."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()

    def deserialize(self, data: bytes) -> list[object]:
        """Reads a request."""
        return self.model.read(data)

    def serialize(self, data: bytes) -> bytes:
        """Writes an answer."""
        return data

    def forward(self, data: list[list[object]]) -> list[bytes]:
        """Runs a batch."""
        return self.model.run(data)


if __name__ == "__main__":
    server = Server()
    server.append_worker(
        Inference,
        num=1,
        max_batch_size=FACTS["batch"],
        max_wait_time=max(1, round(FACTS["delay"] * 1e3)),
    )
    server.run()
