"""Fixtures: a guarded process, and what is run in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.guarded.process import GuardedProcess, build_allocator


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedProcess]:
    """A process whose tensors lie between inaccessible pages."""
    process = GuardedProcess(build_allocator(tmp_path_factory.mktemp("guarded")))
    yield process
    process.close()
