"""A catalogue of one small model, exported without a network."""

import dataclasses

import numpy as np
import onnx_ir as ir
import pytest

from ingot.data.preprocessing import TextPreprocessing
from ingot.models import catalog
from ingot.models.architectures.layers import LayerGraph
from ingot.models.exports import Export
from ingot.models.reference import ReferenceModel


@dataclasses.dataclass
class Tiny:
    """The small model and how often it was exported."""

    model: ReferenceModel
    exports: int = 0
    failure: BaseException | None = None


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """Makes ``tiny``, a model that reads text, a reference model; the cache is a fresh folder."""
    monkeypatch.setenv("INGOT_CACHE_DIR", str(tmp_path / "cache"))

    def export(packages):
        state.exports += 1
        if state.failure is not None:
            raise state.failure
        graph = LayerGraph("tiny", {"table": np.eye(4, dtype=np.float32)})
        ids = graph.input("input_ids", ir.DataType.INT64, ("N", "L"))
        hidden = graph.op("Gather", [graph.weight("table"), ids], "gather")
        return Export(ir.to_proto(graph.finish(hidden, "hidden", ("N", "L", 4))), b'{"tiny": 1}')

    model = ReferenceModel(
        name="tiny",
        summary="a table of four vectors",
        task="sentence embedding",
        licence="Apache-2.0",
        size=500,
        preprocessing=TextPreprocessing(
            tokenizer="tokenizer.json", max_length=8, pooling="mean", inputs=("input_ids",)
        ),
        export=export,
    )
    state = Tiny(model)
    monkeypatch.setitem(catalog.REFERENCE_MODELS, "tiny", model)
    return state
