"""Estimated cycles of fixed nets are those that were recorded: no rule makes them worse unseen."""

from __future__ import annotations

import pytest

pytest.importorskip("ethosu.regor", reason="the extra npu is not installed")
pytest.importorskip("tosa_serializer", reason="the extra npu is not installed")

from ingot.targets.npu.configuration import compiler_versions
from tests.targets.npu.estimates import NETS, RENEW, estimated, recorded

_NETWORKED = [pytest.mark.slow, pytest.mark.network]


def test_the_table_is_of_the_installed_compilers() -> None:
    assert recorded()["versions"] == compiler_versions(), (
        f"the estimates were recorded with other compilers; look at what changes with: {RENEW}"
    )


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=_NETWORKED if net.downloads else ()) for name, net in NETS.items()],
)
def test_estimates_are_those_recorded(name: str) -> None:
    assert estimated(NETS[name]) == recorded()["nets"][name], (
        f"the estimates of {name} changed; where that is meant, renew the table with: {RENEW}"
    )
