"""Progress on a terminal, plain lines elsewhere; always on standard error."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console

OnStage = Callable[[str], None]

_STAGES = {
    "ingest": "reading and checking the model",
    "passes": "running the passes",
    "lower": "generating code",
    "write": "packing the artifact",
    "verify": "checking the code against ONNX Runtime",
}


@contextlib.contextmanager
def stages(title: str) -> Iterator[OnStage]:
    """Shows the stages of one piece of work; yields what to call as each begins."""
    console = Console(stderr=True)
    if not console.is_terminal:

        def plain(stage: str) -> None:
            console.print(f"{title}: {_STAGES.get(stage, stage)}", highlight=False, soft_wrap=True)

        yield plain
        return
    with console.status(title) as status:

        def update(stage: str) -> None:
            status.update(f"{title}: {_STAGES.get(stage, stage)}")

        yield update
