"""Servers that tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ingot.compiler.build import Artifact
from tests.serving.running import Running, running


@pytest.fixture(scope="session")
def served(small_artifact: Artifact) -> Iterator[Running]:
    """A server of the small network, called ``small``: ``image`` [N, 3, 16, 16] to ``logits``."""
    with running(
        f"small={small_artifact.path}", "--max-body-mib", "1", "--shared-memory"
    ) as server:
        yield server
