"""What the simulated products differ in."""

from __future__ import annotations

from dataclasses import dataclass

LUT_BYTES = 2048
# How many operations may be under way before the next one waits; the same for all.
OPERATIONS = 2


@dataclass(frozen=True)
class Accelerator:
    """One product and size.

    The micro-block depths say in which order weights are streamed; the shared buffer's last 2 KiB
    hold lookup tables. (The figures are those of ethos-u-vela, ``architecture_features.py``.)

    Attributes:
        ofm_micro_depth: Output channels of a micro-block.
        ifm_micro_depth: Input channels of a micro-block.
        buffer_bytes: Size of the shared buffer (SHRAM).
        copies: How many copies may be under way before the next one waits.
        reserves_tables: Whether the tables' bytes hold nothing else. The two smallest let
            accumulators grow into them, so that an operation without a table destroys them.
    """

    ofm_micro_depth: int
    ifm_micro_depth: int
    buffer_bytes: int
    copies: int
    reserves_tables: bool


ACCELERATORS = {
    "ethos-u55-32": Accelerator(4, 8, 16 << 10, 1, False),
    "ethos-u55-64": Accelerator(8, 8, 16 << 10, 1, False),
    "ethos-u55-128": Accelerator(8, 8, 24 << 10, 1, True),
    "ethos-u55-256": Accelerator(8, 8, 48 << 10, 1, True),
    "ethos-u65-256": Accelerator(8, 8, 48 << 10, 2, True),
}
