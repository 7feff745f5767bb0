"""A pass that is broken on purpose, named in a recipe as ``broken_passes:DropRelu``."""

from ingot.passes.base import EXACT, IngotPass, PassOptions, PassOutcome


class DropRelu(IngotPass[PassOptions]):
    """Replaces Relu by Abs."""

    name = "broken.drop-relu"
    summary = "Replaces Relu by Abs."
    tolerance = EXACT

    def call(self, model):
        changed = [node for node in model.graph if node.op_type == "Relu"]
        for node in changed:
            node.op_type = "Abs"
        return PassOutcome(model, bool(changed), len(changed))
