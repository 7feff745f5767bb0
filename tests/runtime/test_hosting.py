"""What a region makes is held to what compiled code has room for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ingot.errors import ArtifactError
from ingot.runtime.hosting import HostedRegions
from ingot.runtime.manifest import NPU_PREFIX, RegionInfo, TensorSpec

SPECS = (TensorSpec("x", "int8", (4,)),), (TensorSpec("y", "int8", (4,)),)


class Making:
    """An executor that makes one array, whatever it is given."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def run(self, inputs: Sequence[Any]) -> list[Any]:
        return [self._array]


@pytest.mark.parametrize(
    ("made", "fits"),
    [
        (np.full(4, 7, np.int8), True),
        (np.full(5, 7, np.int8), False),
        (np.full(1 << 20, 7, np.int8), False),
        (np.full((2, 2), 7, np.int8), False),
        (np.full(4, 7, np.int32), False),
        (np.full(3, 7, np.int8), False),
    ],
)
def test_an_npu_region_writes_no_more_than_there_is_room_for(made: np.ndarray, fits: bool) -> None:
    regions = HostedRegions({"r": RegionInfo("npu", ("n",), *SPECS)}, {"r": Making(made)})
    memory = np.zeros(6, np.int8)
    arrays = [np.zeros(4, np.int8), memory[1:5]]
    inference = regions.begin({})
    if fits:
        assert inference.run(NPU_PREFIX + "r", arrays) is None
        assert memory.tolist() == [0, 7, 7, 7, 7, 0]
        return
    with pytest.raises(ArtifactError, match=r"region r makes int.*where the artifact's code takes"):
        inference.run(NPU_PREFIX + "r", arrays)
    assert not memory.any()
