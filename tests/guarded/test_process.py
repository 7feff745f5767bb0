"""An access outside of guarded memory does not go unnoticed."""

from __future__ import annotations

import pytest

from tests.guarded.process import GuardedProcess


@pytest.mark.parametrize(
    ("size", "offset", "write"),
    [(64, 0, False), (4096, 0, True), (100, 28, False), (128, -129 - 4096, False), (100, 0, True),
     (100, 27, True), (64, -65, True)],
)  # fmt: skip
def test_an_access_outside_ends_the_process(
    guarded: GuardedProcess, size: int, offset: int, write: bool
) -> None:
    with pytest.raises(AssertionError, match="ended with -"):
        guarded.ask("touch", (size, offset, write))


def test_an_access_inside_does_not(guarded: GuardedProcess) -> None:
    for size, offset, write in [(64, -1, True), (100, -100, False), (8192, -1, False)]:
        assert guarded.ask("touch", (size, offset, write)) == "touch"
