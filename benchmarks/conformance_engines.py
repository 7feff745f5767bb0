"""One case of the conformance suite through one engine, and what came of it."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, TypeAlias

import onnx

from benchmarks.conformance_cases import Case, first_difference


class Kind(str, Enum):
    """What came of a case, from best to worst; the first four are all that may come of one.

    Where ONNX Runtime and the suite differ, which later versions of onnx have settled either way,
    Ingot may compute what ONNX Runtime does.
    """

    COMPILED = "compiled"
    REGION = "region"
    REFUSED = "refused"
    DISPUTED = "as ONNX Runtime"
    WRONG = "wrong"
    FOREIGN = "foreign exception"
    HANG = "hang"
    CRASH = "crash"


# Characters of a reason.
_LONGEST = 300

PASSED = (Kind.COMPILED, Kind.REGION)
ALLOWED = (*PASSED, Kind.REFUSED, Kind.DISPUTED)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of a case, and why where it did not pass: one line."""

    kind: Kind
    reason: str = ""


Engine: TypeAlias = Callable[[Case], Outcome]


def run_ingot(case: Case) -> Outcome:
    """Compiles a case as a user would, in memory to a file, and runs it on the case's inputs."""
    from ingot.compiler.build import compile_model
    from ingot.errors import IngotError, VerificationError
    from ingot.runtime.session import Session

    model = onnx.load_model_from_string(case.model)
    with tempfile.TemporaryDirectory(prefix="ingot-conformance-") as folder:
        try:
            path = Path(folder) / "case.ingot"
            try:
                artifact = compile_model(model, path)
            except VerificationError:
                # As its message asks for: some operators take hardly any random inputs.
                artifact = compile_model(model, path, verify_data=[case.inputs])
            with Session(artifact.path) as session:
                # The names of outputs are those of the model, and so is their order.
                outputs = list(session.run(case.inputs).values())
        except IngotError as error:
            return Outcome(Kind.REFUSED, _line(error))
        except Exception as error:  # noqa: BLE001  # what it is, is the outcome
            return Outcome(Kind.FOREIGN, f"{type(error).__name__}: {_line(error)}")
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
            return Outcome(Kind.REGION, "; ".join(dict.fromkeys(left))[:_LONGEST])
        return Outcome(Kind.COMPILED)


def run_onnxruntime(case: Case) -> Outcome:
    """Runs a case by ONNX Runtime alone; all that it raises counts as a refusal."""
    outputs = _onnxruntime_outputs(case)
    if isinstance(outputs, Exception):
        return Outcome(Kind.REFUSED, _line(outputs))
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


def _line(error: BaseException) -> str:
    """The first line of what an error says, without addresses and folders that vary."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


ENGINE_NAMES: dict[Engine, str] = {run_ingot: "ingot", run_onnxruntime: "onnxruntime"}
