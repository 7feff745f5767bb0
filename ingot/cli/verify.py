"""``ingot verify``: is an artifact whole, does it fit this machine, is it right?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ingot.cli.text import printable
from ingot.errors import VerificationError
from ingot.runtime.artifact import ArtifactReader
from ingot.runtime.trust import trusted_keys

if TYPE_CHECKING:
    from ingot.compiler.fresh_process.session import FreshSession


def verify(
    artifact: Annotated[Path, typer.Argument(help="An *.ingot file.")],
    model: Annotated[
        str | None,
        typer.Option(help="The source model; outputs are then compared with ONNX Runtime's."),
    ] = None,
    verify_data: Annotated[
        Path | None, typer.Option(help="Real inputs to compare outputs on, before random ones.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random inputs.")] = 0,
    rtol: Annotated[
        float, typer.Option(min=0, help="Largest difference, as a part of the output's magnitude.")
    ] = 1e-4,
    trust: Annotated[
        Path | None,
        typer.Option(help="Public keys, one of which has signed it; default: $INGOT_TRUST."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Check an artifact: digests, signature, code against weights; with --model, the outputs.

    It is loaded and run in a process of its own, as on a machine that has the runtime alone.

    Example: `ingot verify mobilenetv2.ingot --model mobilenetv2`
    """
    reader = ArtifactReader(artifact, trusted_keys(trust))
    reader.verify()
    reader.check_machine()
    outcome: dict[str, Any] = {
        "artifact": str(artifact),
        "members": len(reader.manifest.members),
        "signer": reader.signer,
    }
    # The compile side is loaded only when it is asked for.
    from ingot.compiler.fresh_process.session import FreshSession

    with FreshSession(artifact, trust) as session:
        if model is not None:
            outcome["reference"] = _compare(reader, session, model, verify_data, seed, rtol)
    if as_json:
        typer.echo(json.dumps(outcome, indent=2))
        return
    count = outcome["members"]
    typer.echo(printable(f"{artifact}: {count} members whole, and this machine can run it"))
    if reader.signer is not None:
        typer.echo(f"signed by key {reader.signer}")
    if model is not None:
        error = outcome["reference"]["max_rel_error"]
        typer.echo(
            printable(f"agrees with ONNX Runtime on {model}: max difference {error:.1e} of scale")
        )


def _compare(
    reader: ArtifactReader,
    session: FreshSession,
    model: str,
    data: Path | None,
    seed: int,
    rtol: float,
) -> dict[str, Any]:
    from ingot.cli.source import find_model
    from ingot.compiler.agreement import compare_with_reference
    from ingot.compiler.ingest import ingest

    manifest = reader.manifest
    path = find_model(model).path
    shapes = manifest.recipe["shapes"]
    source = ingest(path, shapes=shapes, simplified=False, seed=seed, verify_data=data)
    if source.sha256 != manifest.source["sha256"]:
        raise VerificationError(
            f"{reader.path} was made from another model than {model}: its source has SHA-256 "
            f"{manifest.source['sha256'][:16]}…, this one {source.sha256[:16]}…"
        )
    return compare_with_reference(session, source.original, source.require_samples(), rtol)
