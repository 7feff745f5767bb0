"""Converters of operators on images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ingot.targets.relax.operators.convolution import conv, conv_transpose

IMAGE_CONVERTERS: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("", "Conv"): conv,
    ("", "ConvTranspose"): conv_transpose,
}
