"""Waits that a command stream must not lack."""

from __future__ import annotations

import pytest

from ingot.runtime.npu.command_stream.decode import CommandError
from ingot.runtime.npu.command_stream.hazards import TABLES, Access, UnderWay, Work


def reading(low: int, high: int, region: int = 1) -> list[Access]:
    return [Access(region, low, high, writes=False)]


def writing(low: int, high: int, region: int = 1) -> list[Access]:
    return [Access(region, low, high, writes=True)]


@pytest.fixture
def under_way() -> UnderWay:
    return UnderWay({Work.OPERATION: 2, Work.COPY: 1})


def test_what_a_copy_writes_is_not_read_before_a_wait(under_way):
    under_way.start(Work.COPY, writing(0, 16))
    with pytest.raises(CommandError, match="reads bytes 8 to 24 of region 1 while an earlier copy"):
        under_way.start(Work.OPERATION, reading(8, 24))
    under_way.wait(Work.COPY, 0)
    under_way.start(Work.OPERATION, reading(8, 24))


def test_what_an_operation_reads_is_not_overwritten_before_a_wait(under_way):
    under_way.start(Work.OPERATION, reading(0, 16))
    with pytest.raises(CommandError, match="writes bytes 0 to 1 .* while an earlier operation"):
        under_way.start(Work.COPY, writing(0, 1))
    under_way.wait(Work.OPERATION, 0)
    under_way.start(Work.COPY, writing(0, 1))


def test_reading_together_is_no_conflict(under_way):
    under_way.start(Work.COPY, reading(0, 16))
    under_way.start(Work.OPERATION, reading(0, 16))


@pytest.mark.parametrize("other", [writing(16, 20), writing(0, 16, region=2)])
def test_other_bytes_are_no_conflict(under_way, other):
    under_way.start(Work.COPY, writing(0, 16))
    under_way.start(Work.OPERATION, other)


def test_a_wait_may_leave_the_newest_under_way(under_way):
    under_way.start(Work.OPERATION, reading(0, 16))
    under_way.start(Work.OPERATION, reading(16, 32))
    under_way.wait(Work.OPERATION, 1)
    under_way.start(Work.COPY, writing(0, 16))
    with pytest.raises(CommandError):
        under_way.start(Work.COPY, writing(16, 32))


def test_a_full_queue_waits_by_itself(under_way):
    for low in (0, 16, 32):
        under_way.start(Work.OPERATION, reading(low, low + 16))
    under_way.start(Work.COPY, writing(0, 16))


def test_tables_have_a_name(under_way):
    under_way.start(Work.COPY, writing(0, 256, TABLES))
    with pytest.raises(CommandError, match="of the lookup tables while"):
        under_way.start(Work.OPERATION, reading(0, 256, TABLES))
