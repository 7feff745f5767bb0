"""The record of what quantization does to a layer: light to import, for who only reads it."""

from __future__ import annotations

import pydantic


class LayerSensitivity(pydantic.BaseModel):
    """What quantization does to one layer, and through it.

    Attributes:
        name: The layer's node.
        operator: Its operator.
        layer_sqnr_db: Signal over noise of its own output, with all layers quantized; None where
            the output cannot be seen.
        output_sqnr_db: Signal over noise of the model's outputs when this layer alone is
            quantized; None when it was not measured.
        multiply_adds: For one sample, what stands for the time that it takes.
        precision: What it computes in, in the end.
    """

    model_config = pydantic.ConfigDict(frozen=True)

    name: str
    operator: str
    layer_sqnr_db: float | None
    output_sqnr_db: float | None = None
    multiply_adds: int
    precision: str = "int8"
