"""Packed weights: each column is where kernels look for it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ingot.targets.cpu.kernels.tiling.tiles import Panels
from ingot.targets.cpu.kernels.writing.dimension import simplified
from ingot.targets.cpu.kernels.writing.emission import index
from ingot.targets.cpu.selection.packing import pack_groups, place_in_panels


@given(
    groups=st.integers(1, 4),
    panels=st.builds(
        Panels, columns=st.integers(1, 20), lanes=st.sampled_from([2, 4]), vectors=st.integers(1, 3)
    ),
)
def test_a_column_is_found_in_its_panel(groups: int, panels: Panels) -> None:
    columns = groups * panels.columns
    weights = np.arange(1, 3 * columns + 1, dtype=np.float32).reshape(3, columns)
    packed = pack_groups(weights, groups, panels)
    assert np.count_nonzero(packed) == weights.size
    for column in range(columns):
        panel, at = map(simplified, place_in_panels(panels, groups, index(column)))
        np.testing.assert_array_equal(packed[panel, :, at], weights[:, column])
