"""Fusion passes: several operators into one standard ONNX operator that does the same."""

from ingot.passes.base import PassOptions
from ingot.passes.fusion.activation import FuseActivation
from ingot.passes.fusion.attention import FuseAttention
from ingot.passes.fusion.bias import FuseBias
from ingot.passes.fusion.conv_batch_norm import FuseConvBatchNorm
from ingot.passes.fusion.gelu import FuseGelu
from ingot.passes.fusion.layer_norm import FuseLayerNorm
from ingot.passes.fusion.pad import FusePad
from ingot.passes.fusion.rewriting import FusionPass
from ingot.passes.fusion.rms_norm import FuseRmsNorm
from ingot.passes.fusion.softmax import FuseSoftmax

__all__ = [
    "PASSES",
    "FuseActivation",
    "FuseAttention",
    "FuseBias",
    "FuseConvBatchNorm",
    "FuseGelu",
    "FuseLayerNorm",
    "FusePad",
    "FuseRmsNorm",
    "FuseSoftmax",
    "FusionPass",
]

# In default order. A bias comes before batch normalization, which wants the convolution right
# before it; GELU before activations, whose sigmoid forms it contains; layer normalization before
# RMS normalization, which its second half is.
PASSES: tuple[type[FusionPass[PassOptions]], ...] = (
    FusePad,
    FuseBias,
    FuseConvBatchNorm,
    FuseGelu,
    FuseActivation,
    FuseLayerNorm,
    FuseRmsNorm,
    FuseSoftmax,
    FuseAttention,
)
