"""What the CPU target asks of passes."""

from __future__ import annotations

import pytest

from ingot.targets.registry import parse_target


@pytest.mark.parametrize(
    ("processor", "sums"),
    [
        pytest.param("znver3", 4, id="AVX2 adds two products in 16 bits"),
        pytest.param("icelake-client", 1, id="VNNI adds in 32 bits"),
    ],
)
def test_weights_leave_16_bit_sums_room_where_products_are_added_in_them(
    processor: str, sums: int
) -> None:
    target = parse_target(f"cpu:mcpu={processor}")
    options = target.pass_options["quantization.qdq"]
    assert options == {"profile": "cpu", "weight_sums": sums}
