"""Which machine code runs on which GPU."""

from __future__ import annotations

import pytest

from ingot.runtime.cuda.architecture import best_architecture, capability


@pytest.mark.parametrize(
    ("device", "expected"),
    [
        ((8, 0), "sm_80"),
        ((8, 6), "sm_86"),
        ((8, 9), "sm_86"),
        ((9, 0), "sm_90"),
        ((8, 7), None),
        ((7, 5), None),
        ((12, 0), "sm_120"),
    ],
)
def test_the_newest_code_of_the_same_major_version_runs(
    device: tuple[int, int], expected: str | None
) -> None:
    assert best_architecture(["sm_80", "sm_86", "sm_90", "sm_120"], device) == expected


def test_a_tegra_chip_runs_its_own_code_alone() -> None:
    assert best_architecture(["sm_80", "sm_87"], (8, 7)) == "sm_87"
    assert best_architecture(["sm_87"], (8, 9)) is None


def test_names_are_checked() -> None:
    assert capability("sm_120") == (12, 0)
    with pytest.raises(ValueError, match="is not of the form sm_80"):
        capability("sm80")
