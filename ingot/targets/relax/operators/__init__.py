"""Converters to Relax for standard operators that TVM's importer lacks or gets wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tvm import relax

from ingot.targets.relax.operators.attention import attention
from ingot.targets.relax.operators.clip import clip
from ingot.targets.relax.operators.expand import expand
from ingot.targets.relax.operators.range import range_
from ingot.targets.relax.operators.recurrent import gru, lstm, rnn
from ingot.targets.relax.operators.variadic import maximum, mean, minimum, total

# A converter takes the block builder, the inputs (None where one is left out) and the attributes.
Converter = Callable[[relax.BlockBuilder, list[Any], dict[str, Any]], relax.Expr]

CONVERTERS: Mapping[tuple[str, str], Converter] = {
    ("", "Attention"): attention,
    ("", "Clip"): clip,
    ("", "Expand"): expand,
    ("", "GRU"): gru,
    ("", "LSTM"): lstm,
    ("", "Max"): maximum,
    ("", "Mean"): mean,
    ("", "Min"): minimum,
    ("", "RNN"): rnn,
    ("", "Range"): range_,
    ("", "Sum"): total,
}
