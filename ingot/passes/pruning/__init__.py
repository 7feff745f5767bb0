"""Pruning passes: weights that matter little go."""

from typing import Any

from ingot.passes.base import IngotPass
from ingot.passes.pruning.channels import PruneChannels
from ingot.passes.pruning.sparsity import Sparsify

__all__ = ["PASSES", "PruneChannels", "Sparsify"]

PASSES: tuple[type[IngotPass[Any]], ...] = (PruneChannels, Sparsify)
