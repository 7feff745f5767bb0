"""Whether an artifact computes what its source model does, by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from ingot.compiler.accuracy.smoothing import without_rounding
from ingot.compiler.comparison import compare_tensors, compare_values, rounding_unit
from ingot.compiler.conditioning import Noise, explained_by_rounding, rounding_noise
from ingot.compiler.reference_samples import Sample
from ingot.errors import IngotError, InputError, VerificationError
from ingot.onnx_graph.matching import producer
from ingot.passes.record import TensorDifference
from ingot.reference.session import Array, Reference
from ingot.runtime.cpu_features import machine_architecture, missing_features
from ingot.runtime.cuda.device import missing_device
from ingot.runtime.manifest import Manifest

# How far compiled integer arithmetic may be from ONNX Runtime on the same QDQ graph, in parts of
# the noise that the graph's own rounding makes. Both round to the same integers but where a float
# sum, taken in another order, falls on the other side of a tie. Behind such a value the two
# roundings drift apart from layer to layer, until they are as far from each other as two
# independent ones: at most sqrt(2) of the noise. A wrong kernel adds to the noise instead.
_PARTS_OF_NOISE = 1.6
# Of the output's root mean square: noise that is smaller than it is not counted upon.
_LEAST_NOISE = 1e-3
# The mean squared error of rounding to integers.
_NOISE_OF_ROUNDING = 1 / 12

# Outputs that are all but zero are compared on this scale, not on their own.
_SMALLEST_SCALE = 1e-3


# Kinds of arrays of strings: labels, of which each is right or wrong.
_TEXT_KINDS = "OUS"


class Runnable(Protocol):
    """What runs a model: an artifact that is loaded here or elsewhere, or ONNX Runtime."""

    def run(self, inputs: Mapping[str, Any], /) -> dict[str, Any]:
        """Runs one inference."""


def runs_here(manifest: Manifest) -> bool:
    """Whether this machine has the architecture and the features that the code needs."""
    return reason_elsewhere(manifest) is None


def reason_elsewhere(manifest: Manifest) -> str | None:
    """Returns why this machine cannot run an artifact; None where it can."""
    if manifest.target.kind == "cuda":
        return missing_device(manifest.placement["cuda"]["architectures"])
    target = manifest.target
    if target.architecture != machine_architecture() or missing_features(target.features):
        return "the code is for another CPU"
    return None


def compare_with_reference(
    session: Runnable, model: ir.Model, samples: Sequence[Sample], rtol: float
) -> dict[str, Any]:
    """Compares an artifact with what ONNX Runtime computed of its source model, output by output.

    Args:
        session: The loaded artifact.
        model: The source model.
        samples: Runs of it.
        rtol: Largest difference allowed, as a part of the output's largest magnitude; where the
            model computes in a coarser type than float32, some roundings of that.

    Code may refuse sizes that ONNX Runtime runs the model at: it takes two sizes for equal that
    come from one dimension, such as those of an image halved and doubled again, where a size of
    one would be broadcast. Such refusals are told, and are no failure while most sizes agree.

    Returns:
        ``ran``, ``rtol``, the largest ``max_abs_error`` and ``max_rel_error``, how many ``samples``
        were compared and at which ``sizes`` of open dimensions; under ``magnified`` outputs that
        differ by more than ``rtol``, though by no more than rounding makes of the model; under
        ``refused`` the sizes that the code refuses, with the reason.

    Raises:
        VerificationError: An output differs by more, or the code fails; names the sample.
    """
    worst_abs = worst_rel = 0.0
    unit = rounding_unit(model)
    magnified: dict[str, float] = {}
    refused: list[dict[str, Any]] = []
    compared: list[Sample] = []
    for sample in samples:
        # Compiled code raises what TVM's runtime does, for what it takes for a wrong shape.
        advice = "; bind its open dimensions with --shape" if sample.sizes else ""
        try:
            actual = _run(session, sample.inputs, str(sample), advice)
        except VerificationError as error:
            if not _is_refusal(error, sample, compared, len(refused)):
                raise
            refused.append({"sizes": dict(sample.sizes), "reason": str(error.__cause__)})
            continue
        compared.append(sample)
        noise: dict[str, Noise] | None = None
        for name, expected in sample.outputs.items():
            for difference in compare_values(name, expected, actual[name], unit):
                allowed = difference.coarsened(rtol)
                if not _within(difference, allowed):
                    noise = rounding_noise(model, sample) if noise is None else noise
                    if not explained_by_rounding(difference, noise, expected, actual[name]):
                        raise VerificationError(
                            f"the compiled code is not right: {difference}, allowed is "
                            f"{allowed:g} of the largest magnitude, on {sample}; please report "
                            "this with the model"
                        )
                    magnified[name] = max(magnified.get(name, 0.0), difference.max_rel_error)
                worst_abs = max(worst_abs, difference.max_abs_error)
                worst_rel = max(worst_rel, difference.max_rel_error)
    return {
        "ran": True,
        "rtol": rtol,
        "max_abs_error": worst_abs,
        "max_rel_error": worst_rel,
        "samples": len(compared),
        "sizes": [dict(sample.sizes) for sample in compared if sample.sizes],
        **({"magnified": magnified} if magnified else {}),
        **({"refused": refused} if refused else {}),
    }


def _is_refusal(
    error: VerificationError, sample: Sample, compared: Sequence[Sample], refused: int
) -> bool:
    """Whether code refuses the sizes of a sample, and fewer than it has agreed at."""
    agreed = [one for one in compared if one.sizes and one.sizes != sample.sizes]
    return isinstance(error.__cause__, InputError) and len(agreed) > refused


def _within(difference: TensorDifference, allowed: float) -> bool:
    largest = allowed * max(difference.scale, _SMALLEST_SCALE)
    return not difference.detail and difference.max_abs_error <= largest


def _run(
    session: Runnable, inputs: Mapping[str, Any], described: str, advice: str = ""
) -> dict[str, Any]:
    try:
        return session.run(inputs)
    except Exception as error:
        said = f": {error}" if isinstance(error, IngotError) else ""
        raise VerificationError(
            f"the compiled code fails on {described}, which ONNX Runtime runs{said}{advice}; "
            "please report this with the model"
        ) from error


def compare_with_quantized(
    session: Runnable, model: ir.Model, inputs: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Compares an artifact with ONNX Runtime on the graph that it was compiled from.

    That is the graph after passes that change results by intent: quantized, in 16 bits, pruned.

    The measure is the noise of the graph: by how much its outputs in ONNX Runtime differ from those
    of the graph whose activations are not rounded.

    Args:
        session: The loaded artifact, or another form of the graph in ONNX Runtime.
        model: The QDQ graph.
        inputs: Complete inputs, one mapping per run; real ones, where values spread as they will.

    Returns:
        ``ran``, ``reference``, the largest ``max_abs_error`` and ``max_rel_error``, and as parts of
        the outputs' root mean square ``rms_error`` and ``rms_noise`` of the worst output.

    Raises:
        VerificationError: An output differs by more than rounding can explain.
    """
    described = _described(model)
    reference, smooth = Reference(model), Reference(without_rounding(model))
    integers = {value.name for value in model.graph.outputs if producer(value, "QuantizeLinear")}
    totals: dict[str, npt.NDArray[np.float64]] = {}
    worst_abs = worst_rel = 0.0
    for sample in inputs:
        expected, ideal = reference.run(sample), smooth.run(sample)
        actual = _run(session, sample, "inputs")
        for name, array in expected.items():
            if array.dtype.kind in _TEXT_KINDS and array.shape == actual[name].shape:
                squares = [np.ones(array.shape), array != actual[name], array != ideal[name]]
            else:
                difference = compare_tensors(name, array, actual[name])
                if difference.detail or not np.isfinite(difference.max_abs_error):
                    raise VerificationError(
                        f"the compiled code is not right: {difference}, from the {described} "
                        "in ONNX Runtime; please report this with the model"
                    )
                worst_abs = max(worst_abs, difference.max_abs_error)
                worst_rel = max(worst_rel, difference.max_rel_error)
                squares = [array, _minus(actual[name], array), _minus(array, ideal[name])]
            found = np.array([float((part.astype(np.float64) ** 2).sum()) for part in squares])
            if name in integers:
                # An output of integers is rounded in both graphs.
                found[2] += _NOISE_OF_ROUNDING * array.size
            totals[name] = totals.get(name, np.zeros(3)) + found
    errors = {name: np.sqrt(total / max(total[0], 1e-300)) for name, total in totals.items()}
    for name, (_, error, noise) in errors.items():
        if error > _PARTS_OF_NOISE * max(noise, _LEAST_NOISE):
            raise VerificationError(
                f"the compiled code is not right: output '{name}' is {error:.2g} of its root mean "
                f"square from the {described} in ONNX Runtime, whose own rounding makes "
                f"{noise:.2g}; please report this with the model"
            )
    worst = max(errors.values(), key=lambda found: float(found[1]))
    return {
        "ran": True,
        "reference": described,
        "max_abs_error": worst_abs,
        "max_rel_error": worst_rel,
        "rms_error": float(worst[1]),
        "rms_noise": float(worst[2]),
    }


def _described(model: ir.Model) -> str:
    """What to call the graph that code is compiled from."""
    quantized = any("quantizelinear" in node.op_type.lower() for node in model.graph)
    return "quantized graph" if quantized else "graph after the passes"


def _minus(left: Array, right: Array) -> npt.NDArray[np.float64]:
    return np.asarray(left.astype(np.float64) - right.astype(np.float64))
