"""``ingot sign`` and ``ingot keygen``: artifacts whose origin can be checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ingot.cli.text import printable
from ingot.compiler.signing import PUBLIC_SUFFIX, make_key, sign_artifact
from ingot.files import require_writable


def sign(
    artifact: Annotated[Path, typer.Argument(help="An *.ingot file.")],
    key: Annotated[Path, typer.Option(help="The private key, a PEM file (`ingot keygen`).")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where it goes; default: in its place.")
    ] = None,
) -> None:
    """Sign an artifact (Ed25519), after every digest of it has been checked.

    Example: `ingot sign model.ingot --key release.pem`
    """
    require_writable(output or artifact, inputs=[key])
    name = sign_artifact(artifact, key, output)
    typer.echo(printable(f"{output or artifact}: signed by key {name}"))


def keygen(
    key: Annotated[Path, typer.Argument(help="Where the private key goes; not replaced.")],
) -> None:
    """Make a key pair: KEY, which stays with who signs, and KEY.pub, which goes to the machines.

    Example: `ingot keygen release.pem`
    """
    name = make_key(key)
    public = f"{key}{PUBLIC_SUFFIX}"
    typer.echo(printable(f"key {name}: {key} signs, {public} goes to the machines that check"))
