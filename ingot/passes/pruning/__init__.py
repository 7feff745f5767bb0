"""Pruning passes: weights that matter little go."""

from ingot.passes.pruning.channels import PruneChannels

__all__ = ["PASSES", "PruneChannels"]

PASSES: tuple[type[PruneChannels], ...] = (PruneChannels,)
