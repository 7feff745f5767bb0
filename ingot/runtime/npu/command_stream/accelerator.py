"""What the simulated products differ in."""

from __future__ import annotations

from dataclasses import dataclass

LUT_BYTES = 2048


@dataclass(frozen=True)
class Accelerator:
    """One product and size.

    The micro-block depths say in which order weights are streamed; the shared buffer's last 2 KiB
    hold lookup tables (both from ethos-u-vela, ``architecture_features.py``).

    Attributes:
        ofm_micro_depth: Output channels of a micro-block.
        ifm_micro_depth: Input channels of a micro-block.
        buffer_bytes: Size of the shared buffer (SHRAM).
        reserves_tables: Whether the tables' bytes hold nothing else. The two smallest let
            accumulators grow into them, so that an operation without a table destroys them.
    """

    ofm_micro_depth: int
    ifm_micro_depth: int
    buffer_bytes: int
    reserves_tables: bool


ACCELERATORS = {
    "ethos-u55-32": Accelerator(4, 8, 16 << 10, False),
    "ethos-u55-64": Accelerator(8, 8, 16 << 10, False),
    "ethos-u55-128": Accelerator(8, 8, 24 << 10, True),
    "ethos-u55-256": Accelerator(8, 8, 48 << 10, True),
    "ethos-u65-256": Accelerator(8, 8, 48 << 10, True),
}
