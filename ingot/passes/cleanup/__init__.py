"""Passes that take away what is not needed and compute what is known."""

from __future__ import annotations

from typing import Any

from ingot.passes.base import IngotPass
from ingot.passes.cleanup.common_subexpressions import CommonSubexpressions
from ingot.passes.cleanup.constant_folding import ConstantFolding
from ingot.passes.cleanup.dead_code import DeadCode
from ingot.passes.cleanup.duplicate_initializers import DuplicateInitializers
from ingot.passes.cleanup.identities import Identities

# Equal initializers become one before equal nodes, which are known by their inputs, are looked for;
# dead code comes last, for the others leave some behind.
PASSES: tuple[type[IngotPass[Any]], ...] = (
    Identities,
    ConstantFolding,
    DuplicateInitializers,
    CommonSubexpressions,
    DeadCode,
)
