"""``ingot run``: one inference from files to files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from ingot.errors import InputError, UsageError
from ingot.runtime.session import Session


def run_command(
    artifact: Annotated[Path, typer.Argument(help="An *.ingot file.")],
    inputs: Annotated[
        list[str] | None,
        typer.Option("--input", "-i", help="NAME=FILE.npy, repeatable; or one FILE.npz with all."),
    ] = None,
    output_dir: Annotated[
        Path | None, typer.Option(help="A folder that receives OUTPUT.npy for each output.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads; default: every core it may run on.")
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(help="What runs NPU regions: reference (default) or command-stream."),
    ] = None,
) -> None:
    """Run an artifact once on arrays from files.

    Example: `ingot run model.ingot --input image=image.npy --output-dir out`
    """
    arrays = _read(inputs or [])
    with Session(artifact, threads=threads, executor=executor) as session:
        outputs = session.run(arrays)
    for name, array in outputs.items():
        typer.echo(f"{name}: {array.dtype.name}{list(array.shape)}")
        if output_dir is not None:
            output_dir.mkdir(parents=True, exist_ok=True)
            np.save(output_dir / f"{name.replace('/', '_')}.npy", array)


def _read(options: list[str]) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    for option in options:
        name, equals, text = option.partition("=")
        path = Path(text if equals else name)
        if not equals and path.suffix != ".npz":
            raise UsageError(f"--input {option!r} is not NAME=FILE.npy, nor a file .npz")
        try:
            loaded = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"--input {option}: {path} cannot be read: {error}") from error
        if isinstance(loaded, np.ndarray):
            arrays[name] = loaded
        else:
            with loaded:
                arrays |= {key: loaded[key] for key in loaded.files}
    return arrays
