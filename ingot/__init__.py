"""Ingot: ONNX model in, the fastest verified artifact for a CPU, a CUDA GPU or an NPU out.

Importing this is light; the compiler is loaded when ``compile`` or ``compare`` is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingot.compiler.build import Artifact
    from ingot.compiler.build import compile_model as compile
    from ingot.compiler.recipe import Recipe
    from ingot.optimization.optimizing import optimize
    from ingot.report.compare import Report, compare
    from ingot.runtime.session import Session

__all__ = ["Artifact", "Recipe", "Report", "Session", "compare", "compile", "load", "optimize"]

_WHERE = {
    "Artifact": ("ingot.compiler.build", "Artifact"),
    "Recipe": ("ingot.compiler.recipe", "Recipe"),
    "Report": ("ingot.report.compare", "Report"),
    "Session": ("ingot.runtime.session", "Session"),
    "compare": ("ingot.report.compare", "compare"),
    "compile": ("ingot.compiler.build", "compile_model"),
    "optimize": ("ingot.optimization.optimizing", "optimize"),
    "load": ("ingot.runtime.session", "Session"),
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'ingot' has no attribute {name!r}")
    module, attribute = _WHERE[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
