"""QOperator models in QDQ form: operators on integers become float ones between Q and DQ."""

from typing import Any

from ingot.passes.base import IngotPass
from ingot.passes.qoperators.spelled_out import SpellOut

__all__ = ["PASSES", "SpellOut"]

PASSES: tuple[type[IngotPass[Any]], ...] = (SpellOut,)
