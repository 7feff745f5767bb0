"""Packages for formats of checkpoints."""

import pytest

from ingot.errors import IngotError
from ingot.models.checkpoints.extra import require_extra


def test_a_package_that_is_not_there_says_how_to_have_it():
    require_extra("numpy", "x.h5")

    with pytest.raises(IngotError, match=r"x\.h5 needs the package h6py.*ingot\[checkpoints\]"):
        require_extra("h6py", "x.h5")
