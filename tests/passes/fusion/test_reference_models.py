"""How often each fusion applies to the reference models, which come from real exporters."""

import collections

import pytest

from ingot.compiler.ingest import ingest
from ingot.models.catalog import resolve
from ingot.passes.fusion import PASSES

# One attention and one GELU per layer; two layer normalizations per layer and one after the
# embeddings.
COUNTS = {
    "minilm": {"LayerNormalization": 13, "Gelu": 6, "Attention": 6, "Softmax": 0},
    "gte_small": {"LayerNormalization": 25, "Gelu": 12, "Attention": 12, "Softmax": 0},
    "mpnet_base": {"LayerNormalization": 25, "Gelu": 12, "Attention": 12, "Softmax": 0},
    "mobilenetv2": {"BatchNormalization": 0, "Conv": 52},
    "resnet50": {"BatchNormalization": 0, "Conv": 53},
    "efficientnet_lite0": {"BatchNormalization": 0, "Conv": 49},
}


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("name", COUNTS)
def test_all_places_are_found(name):
    model = ingest(resolve(name).path).model
    for cls in PASSES:
        cls()(model)
    found = collections.Counter(node.op_type for node in model.graph)
    assert {operator: found[operator] for operator in COUNTS[name]} == COUNTS[name]
