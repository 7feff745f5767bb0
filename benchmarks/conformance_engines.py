"""One case of the conformance suite through one engine, and what came of it."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from pathlib import Path
from typing import Any

import onnx

from benchmarks.conformance_cases import Case, first_difference
from benchmarks.conformance_outcomes import Kind, Outcome, one_line, shortened
from benchmarks.conformance_runtime import run_artifact
from benchmarks.conformance_workers import Engine, Worker


def run_ingot(case: Case) -> Outcome:
    """Compiles a case as a user would, in memory to a file, and runs it on the case's inputs."""
    from ingot.compiler.build import compile_model
    from ingot.errors import IngotError, VerificationError

    model = onnx.load_model_from_string(case.model)
    with tempfile.TemporaryDirectory(prefix="ingot-conformance-") as folder:
        try:
            path = Path(folder) / "case.ingot"
            try:
                artifact = compile_model(model, path)
            except VerificationError:
                # As its message asks for: some operators take hardly any random inputs.
                artifact = compile_model(model, path, verify_data=[case.inputs])
        except IngotError as error:
            return Outcome(Kind.REFUSED, one_line(error))
        except Exception as error:  # noqa: BLE001  # what it is, is the outcome
            return Outcome(Kind.FOREIGN, f"{type(error).__name__}: {one_line(error)}")
        try:
            outputs = _deployed_machine().call(run_artifact, (str(path), case.inputs))
        except TimeoutError as error:
            return Outcome(Kind.HANG, one_line(error))
        except ChildProcessError as error:
            return Outcome(Kind.CRASH, one_line(error))
        if isinstance(outputs, Outcome):
            return outputs
        difference = first_difference(case, outputs)
        if difference is not None:
            return Outcome(
                Kind.DISPUTED if _is_as_onnxruntime(case, outputs) else Kind.WRONG, difference
            )
        left = [
            f"{entry['operator']}: {entry['reason']}"
            for part in artifact.manifest.placement.values()
            for entry in part.get("left", ())
        ]
        if artifact.manifest.regions:
            return Outcome(Kind.REGION, shortened("; ".join(dict.fromkeys(left))))
        return Outcome(Kind.COMPILED)


@functools.cache
def _deployed_machine() -> Worker:
    """A process that has Ingot's runtime alone, as a machine has that an artifact goes to."""
    return Worker(seconds=60.0)


def run_onnxruntime(case: Case) -> Outcome:
    """Runs a case by ONNX Runtime alone; all that it raises counts as a refusal."""
    outputs = _onnxruntime_outputs(case)
    if isinstance(outputs, Exception):
        return Outcome(Kind.REFUSED, one_line(outputs))
    difference = first_difference(case, outputs)
    return Outcome(Kind.COMPILED) if difference is None else Outcome(Kind.WRONG, difference)


def _is_as_onnxruntime(case: Case, outputs: list[Any]) -> bool:
    theirs = _onnxruntime_outputs(case)
    if isinstance(theirs, Exception):
        return False
    return first_difference(dataclasses.replace(case, expected=theirs), outputs) is None


def _onnxruntime_outputs(case: Case) -> list[Any] | Exception:
    import onnxruntime

    from ingot.runtime.onnxruntime.values import run_session

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            case.model, options, providers=["CPUExecutionProvider"]
        )
        names = [output.name for output in session.get_outputs()]
        return run_session(session, names, case.inputs)
    except Exception as error:  # noqa: BLE001
        return error


ENGINE_NAMES: dict[Engine, str] = {run_ingot: "ingot", run_onnxruntime: "onnxruntime"}
