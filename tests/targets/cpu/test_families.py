"""The table of families: each anchor is one family's."""

from __future__ import annotations

from collections.abc import Iterator

from ingot.targets.cpu.families import FAMILIES
from ingot.targets.cpu.kernels.anchors import Anchor


def families_under(kind: type[Anchor]) -> Iterator[str]:
    """The families of the anchors that are defined."""
    for narrower in kind.__subclasses__():
        if "family" in vars(narrower):
            yield narrower.family
        yield from families_under(narrower)


def test_each_anchor_has_one_writer() -> None:
    assert sorted(families_under(Anchor)) == sorted(family.anchor.family for family in FAMILIES)
