"""Whether an artifact computes what its source model does, by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir

from ingot.calibration.reference import Reference
from ingot.compiler.comparison import compare_tensors
from ingot.errors import VerificationError
from ingot.runtime.cpu_features import machine_architecture, missing_features
from ingot.runtime.manifest import Manifest
from ingot.runtime.session import Session

# Outputs that are all but zero are compared on this scale, not on their own.
_SMALLEST_SCALE = 1e-3


def runs_here(manifest: Manifest) -> bool:
    """Whether this machine has the architecture and the features that the code needs."""
    return manifest.target.architecture == machine_architecture() and not missing_features(
        manifest.target.features
    )


def compare_with_reference(
    session: Session, model: ir.Model, inputs: Sequence[Mapping[str, Any]], rtol: float
) -> dict[str, Any]:
    """Compares an artifact with ONNX Runtime on its source model, output by output.

    Args:
        session: The loaded artifact.
        model: The source model.
        inputs: Complete inputs, one mapping per run.
        rtol: Largest difference allowed, as a part of the output's largest magnitude.

    Returns:
        ``ran``, ``rtol``, and the largest ``max_abs_error`` and ``max_rel_error``.

    Raises:
        VerificationError: An output differs by more; names it.
    """
    worst_abs = worst_rel = 0.0
    reference = Reference(model)
    for sample in inputs:
        expected, actual = reference.run(sample), session.run(sample)
        for name, array in expected.items():
            difference = compare_tensors(name, array, actual[name])
            allowed = rtol * max(difference.scale, _SMALLEST_SCALE)
            if difference.detail or difference.max_abs_error > allowed:
                raise VerificationError(
                    f"the compiled code is not right: {difference}, allowed is {rtol:g} of the "
                    "largest magnitude; please report this with the model"
                )
            worst_abs = max(worst_abs, difference.max_abs_error)
            worst_rel = max(worst_rel, difference.max_rel_error)
    return {"ran": True, "rtol": rtol, "max_abs_error": worst_abs, "max_rel_error": worst_rel}
