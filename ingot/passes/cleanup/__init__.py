"""Passes that take away what is not needed and compute what is known."""

from __future__ import annotations

import onnx_ir as ir

PASSES: tuple[type[ir.passes.PassBase], ...] = ()
