"""Converters to Relax for standard operators that TVM's importer lacks or gets wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import relax

from ingot.targets.relax.operators.activations import (
    celu,
    elu,
    hard_sigmoid,
    is_infinite,
    selu,
    shrink,
    swish,
    thresholded_relu,
)
from ingot.targets.relax.operators.affine_grid import affine_grid
from ingot.targets.relax.operators.batch_normalization import batch_normalization
from ingot.targets.relax.operators.bit_cast import bit_cast
from ingot.targets.relax.operators.cast import cast, cast_like
from ingot.targets.relax.operators.clip import clip
from ingot.targets.relax.operators.concat import concat
from ingot.targets.relax.operators.cumulative import cumulative
from ingot.targets.relax.operators.determinant import determinant
from ingot.targets.relax.operators.division import div, mod
from ingot.targets.relax.operators.dropout import dropout
from ingot.targets.relax.operators.expand import constant_of_shape, expand, tile
from ingot.targets.relax.operators.eye_like import eye_like
from ingot.targets.relax.operators.fourier import dft, stft
from ingot.targets.relax.operators.gather import gather, gather_elements, gather_nd
from ingot.targets.relax.operators.hyperbolic import cosh, sinh
from ingot.targets.relax.operators.images import IMAGE_CONVERTERS
from ingot.targets.relax.operators.local_response import local_response_normalization
from ingot.targets.relax.operators.lp_normalization import lp_normalization
from ingot.targets.relax.operators.matmul import gemm, matmul
from ingot.targets.relax.operators.nonzero import compress, nonzero
from ingot.targets.relax.operators.norms import NORMS
from ingot.targets.relax.operators.one_hot import one_hot
from ingot.targets.relax.operators.pad import pad
from ingot.targets.relax.operators.positions import arg_max, arg_min
from ingot.targets.relax.operators.power import power
from ingot.targets.relax.operators.quantized import QUANTIZED_CONVERTERS
from ingot.targets.relax.operators.range import range_
from ingot.targets.relax.operators.recurrent import gru, lstm, rnn
from ingot.targets.relax.operators.reductions import REDUCTIONS
from ingot.targets.relax.operators.reshape import flatten, reshape, squeeze, unsqueeze
from ingot.targets.relax.operators.resize import resize
from ingot.targets.relax.operators.reverse_sequence import reverse_sequence
from ingot.targets.relax.operators.scatter import scatter_elements, scatter_nd
from ingot.targets.relax.operators.slicing import slice_, split
from ingot.targets.relax.operators.topk import topk
from ingot.targets.relax.operators.transformers import TRANSFORMER_CONVERTERS
from ingot.targets.relax.operators.triangle import trilu
from ingot.targets.relax.operators.unique import unique
from ingot.targets.relax.operators.variadic import maximum, mean, minimum, total
from ingot.targets.relax.operators.windows import blackman_window, hamming_window, hann_window

# A converter takes the block builder, the inputs (None where one is left out) and the attributes.
Converter = Callable[[Any, list[Any], dict[str, Any]], relax.Expr]

# Converters that take what is known of an input (shape_values.Known) in place of a tensor: those
# whose result has a shape that depends on an input's values.
KNOWN_CONVERTERS: Mapping[tuple[str, str], Converter] = {
    ("", "BlackmanWindow"): blackman_window,
    ("", "AffineGrid"): affine_grid,
    ("", "ConstantOfShape"): constant_of_shape,
    ("", "DFT"): dft,
    ("", "Expand"): expand,
    ("", "Gather"): gather,
    ("", "HammingWindow"): hamming_window,
    ("", "HannWindow"): hann_window,
    ("", "OneHot"): one_hot,
    ("", "Range"): range_,
    ("", "Reshape"): reshape,
    ("", "STFT"): stft,
    ("", "Pad"): pad,
    ("", "Resize"): resize,
    ("", "Slice"): slice_,
    ("", "Split"): split,
    ("", "Squeeze"): squeeze,
    ("", "Tile"): tile,
    ("", "TopK"): topk,
    ("", "Unsqueeze"): unsqueeze,
}

CONVERTERS: Mapping[tuple[str, str], Converter] = {
    ("", "ArgMax"): arg_max,
    ("", "ArgMin"): arg_min,
    **KNOWN_CONVERTERS,
    **TRANSFORMER_CONVERTERS,
    ("", "BatchNormalization"): batch_normalization,
    ("", "BitCast"): bit_cast,
    ("", "Cast"): cast,
    ("", "CastLike"): cast_like,
    ("", "Celu"): celu,
    ("", "Clip"): clip,
    ("", "Compress"): compress,
    ("", "Concat"): concat,
    ("", "Cosh"): cosh,
    ("", "CumProd"): cumulative(relax.op.cumprod),
    ("", "CumSum"): cumulative(relax.op.cumsum),
    ("", "Det"): determinant,
    ("", "Div"): div,
    ("", "Dropout"): dropout,
    ("", "Elu"): elu,
    ("", "EyeLike"): eye_like,
    ("", "Flatten"): flatten,
    ("", "GRU"): gru,
    ("", "GatherElements"): gather_elements,
    ("", "GatherND"): gather_nd,
    ("", "Gemm"): gemm,
    ("", "HardSigmoid"): hard_sigmoid,
    ("", "IsInf"): is_infinite,
    ("", "LSTM"): lstm,
    ("", "LRN"): local_response_normalization,
    ("", "LpNormalization"): lp_normalization,
    **{("", name): convert for name, convert in NORMS.items()},
    ("", "MatMul"): matmul,
    ("", "Max"): maximum,
    ("", "Mean"): mean,
    ("", "Min"): minimum,
    ("", "Mod"): mod,
    ("", "NonZero"): nonzero,
    ("", "Pow"): power,
    ("", "RNN"): rnn,
    ("", "ReverseSequence"): reverse_sequence,
    ("", "Scatter"): scatter_elements,  # before opset 11
    ("", "ScatterElements"): scatter_elements,
    ("", "ScatterND"): scatter_nd,
    ("", "Selu"): selu,
    ("", "Shrink"): shrink,
    ("", "Sinh"): sinh,
    ("", "Sum"): total,
    ("", "Swish"): swish,
    ("", "ThresholdedRelu"): thresholded_relu,
    ("", "Trilu"): trilu,
    ("", "Unique"): unique,
    **IMAGE_CONVERTERS,
    **QUANTIZED_CONVERTERS,
    **{("", name): convert for name, convert in REDUCTIONS.items()},
}
