"""How many examples a property is tried on: some in every run, all of them in `make test-all`."""

from __future__ import annotations

import os

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ingot")
# The profile of `make test-all`, which looks for new examples.
EXPLORING = "explore"


def examples(count: int) -> int:
    """Returns how many examples of a property are tried, each of which is compiled.

    Args:
        count: How many there are in all.
    """
    return count if PROFILE == EXPLORING else max(2, count // 3)
