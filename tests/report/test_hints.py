"""A profile names a cause where it shows one, and says nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from ingot.report.hints import hints
from ingot.report.profile import KernelRow, ModelProfile
from ingot.targets.cpu.probe import Roofline

ROOFLINE = Roofline(
    threads=2, gflops=100.0, int8_gops=400.0, l2_gbs=100.0, l3_gbs=50.0, dram_gbs=10.0,
    l2_bytes=1 << 20, l3_bytes=1 << 24,
)  # fmt: skip


def kernel(ms: float = 1.0, **given: Any) -> KernelRow:
    """A kernel that does well: near to the peak of its operations."""
    known = {"kernel": "k", "operators": "conv2d+relu", "gops": 70.0, "gbs": 2.0}
    row = {**known, "percent_of_roofline": 70.0, **given}
    return KernelRow(calls=1, ms=ms, share=0.0, **row)


def profile(*rows: KernelRow, outside: float = 0.0, **given: Any) -> ModelProfile:
    total = sum(row.ms for row in rows)
    shared = tuple(row.model_copy(update={"share": row.ms / total}) for row in rows)
    known = {
        "model": "net", "precision": "fp32", "threads": 2, "input_shapes": {}, "inferences": 3,
        "gops": None, "percent_of_roofline": None, "roofline": ROOFLINE,
    }  # fmt: skip
    return ModelProfile(ms=total + outside, kernels_ms=total, rows=shared, **{**known, **given})


REGION = kernel(1.0, kernel="ingot.region.0", operators="3 in ONNX Runtime", gops=None, gbs=None,
                percent_of_roofline=None)  # fmt: skip
# 9 GB/s of 10 from memory: 50 MB, with few operations.
WAITS = kernel(5.5, operators="matmul", gops=4.5, gbs=9.0, percent_of_roofline=90.0)
SLOW = kernel(1.0, kernel="slow", gops=5.0, percent_of_roofline=5.0)


@pytest.mark.parametrize(
    ("found", "options", "hint"),
    [
        (profile(kernel()), {}, None),
        (profile(kernel(), threads=4), {}, "4 threads take turns on 2 CPUs"),
        (profile(kernel()), {"usable_cpus": 1}, "2 threads take turns on 1 CPU that"),
        (profile(kernel(), REGION), {}, "Regions of ONNX Runtime take 50%"),
        (profile(kernel(9.0), REGION), {}, None),
        (profile(kernel(), SLOW), {"plain_loops": ["slow"]}, "plain loops and take 50%"),
        (profile(kernel(9.0), SLOW), {"plain_loops": ["slow"]}, None),
        (profile(kernel(), WAITS), {}, "wait for memory, near to its bandwidth, take 85%"),
        (profile(kernel(), WAITS), {}, "`--recipe int8`"),
        (profile(kernel(9.0), WAITS), {}, None),
        (profile(kernel(0.1), outside=0.2), {}, "67% of the inference is outside of kernels"),
        (profile(kernel(0.1), outside=0.2, threads=1), {"usable_cpus": 1}, "outside of kernels"),
        (profile(kernel(10.0), outside=20.0), {}, None),
        (profile(SLOW), {}, "Kernels below 25 % of what this machine can do take 100%"),
        (profile(SLOW), {}, "ingot doctor --tune"),
        (profile(kernel(0.1, percent_of_roofline=5.0)), {}, "may be faster on --threads 1"),
        (profile(kernel(9.0), SLOW), {}, None),
    ],
)
def test_a_cause_is_named_where_it_takes_a_large_part(
    found: ModelProfile, options: dict[str, Any], hint: str | None
) -> None:
    told = hints(found, **{"usable_cpus": 2, **options})
    if hint is None:
        assert told == ()
    else:
        assert len(told) == 1
        assert hint in told[0]
        assert told[0].endswith(".")


def test_int8_is_advised_only_where_it_is_not_used() -> None:
    [hint] = hints(profile(WAITS, precision="int8"), usable_cpus=2)
    assert "int8" not in hint


def test_an_integer_kernel_is_held_to_the_peak_of_integers() -> None:
    # 100 Gop/s of 400 and 9 GB/s of 10: it waits for memory; of float32 it would be the peak.
    integers = kernel(5.5, operators="integer_matmul+add", gops=100.0, gbs=9.0,
                      percent_of_roofline=90.0)  # fmt: skip
    assert "wait for memory" in hints(profile(integers), usable_cpus=2)[0]
    floats = integers.model_copy(update={"operators": "matmul+add"})
    assert hints(profile(floats), usable_cpus=2) == ()


def test_several_causes_are_all_named() -> None:
    told = hints(profile(kernel(), REGION, threads=3), usable_cpus=2)
    assert len(told) == 2
