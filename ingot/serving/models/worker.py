"""The process of a model: loads its artifact and answers batches until its server is gone.

Started as ``python -m ingot.serving.models.worker SOCKET`` by
:mod:`ingot.serving.models.model_process`. It holds nothing of the server's: what a model does to
its process, it does to this one.
"""

from __future__ import annotations

import signal
import sys
from multiprocessing.connection import Connection
from typing import Any

from ingot.errors import IngotError, first_line
from ingot.runtime.session import Session
from ingot.serving.models.array_messages import receive_arrays, send_arrays


def main(arguments: list[str]) -> int:
    """Answers over the socket of a number; returns the exit code."""
    # Who ends the server by a signal to the whole group would end batches that it waits for. This
    # process ends when the server's side of the socket is closed.
    for ending in (signal.SIGINT, signal.SIGTERM):
        signal.signal(ending, signal.SIG_IGN)
    connection: Connection[Any, Any] = Connection(int(arguments[0]))
    try:
        facts, _ = receive_arrays(connection)
        session = _loaded(connection, facts)
        while session is not None:
            _, inputs = receive_arrays(connection)
            _answer(connection, session, inputs)
    except (EOFError, ConnectionError):
        return 0
    return 1


def _loaded(connection: Connection[Any, Any], facts: dict[str, Any]) -> Session | None:
    """Loads the artifact and says so; None, said too, if it cannot be."""
    try:
        session = Session(
            facts["path"],
            threads=facts["threads"],
            memory_limit=facts["memory_limit"],
            trust=facts["trust"],
        )
    except IngotError as error:
        send_arrays(connection, _error(error), {})
        return None
    if session.manifest.to_json() != facts["manifest"]:
        changed = "another artifact has taken the file's name since: load the model anew"
        send_arrays(connection, {"error": "ArtifactError", "message": changed}, {})
        return None
    send_arrays(connection, {}, {})
    return session


def _answer(connection: Connection[Any, Any], session: Session, inputs: dict[str, Any]) -> None:
    try:
        outputs = session.run(inputs)
    except Exception as error:  # noqa: BLE001  # who asked waits for an answer
        send_arrays(connection, _error(error), {})
        return
    send_arrays(connection, {}, outputs)


def _error(error: Exception) -> dict[str, str]:
    kind = type(error).__name__
    if isinstance(error, IngotError | MemoryError):
        return {"error": kind, "message": str(error)}
    return {"error": "IngotError", "message": f"the model failed: {kind}: {first_line(error)}"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
