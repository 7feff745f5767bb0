"""``ingot run``: one inference from files to files."""

from __future__ import annotations

import dataclasses
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from ingot.cli.text import printable
from ingot.errors import InputError, UsageError, first_line
from ingot.files import atomic_file, require_writable_in
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
        int | None, typer.Option(min=1, help="Threads; default: all usable CPUs.")
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(help="What runs NPU regions: reference (default) or command-stream."),
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option(help="Public keys, one of which has signed it; default: $INGOT_TRUST."),
    ] = None,
) -> None:
    """Run an artifact once on arrays from files.

    Example: `ingot run model.ingot --input image=image.npy --output-dir out`
    """
    given = [_Given.parse(option) for option in inputs or []]
    arrays = {name: array for one in given for name, array in one.read().items()}
    with Session(artifact, threads=threads, executor=executor, trust=trust) as session:
        files = _files([spec.name for spec in session.outputs])
        if output_dir is not None:
            read = [artifact, *(one.path for one in given)]
            require_writable_in(output_dir, files.values(), inputs=read)
        outputs = session.run(arrays)
    if output_dir is not None:
        output_dir.mkdir(parents=True, exist_ok=True)
    for name, value in outputs.items():
        typer.echo(printable(f"{name}: {_described(value)}"))
        if output_dir is not None:
            _write(output_dir / files[name], name, value)


def _files(names: Sequence[str]) -> dict[str, str]:
    """The file of each output.

    Raises:
        UsageError: Two outputs would go to one file.
    """
    files = {name: f"{name.replace('/', '_')}.npy" for name in names}
    for name, file in files.items():
        twin = next(one for one, other in files.items() if other == file)
        if twin != name:
            raise UsageError(f"outputs {twin!r} and {name!r} would both be written to {file}")
    return files


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype.name}{list(value.shape)}"
    if isinstance(value, (list, dict)):
        return f"{'sequence' if isinstance(value, list) else 'map'} of {len(value)}"
    return "nothing" if value is None else type(value).__name__


def _write(path: Path, name: str, value: Any) -> None:
    if not isinstance(value, np.ndarray):
        raise UsageError(
            f"output {name!r} is a {_described(value)}, for which there is no .npy file: run the "
            "artifact in Python"
        )
    with atomic_file(path) as file:
        # Strings come as objects, which only a pickle could hold.
        np.save(file, value.astype(str) if value.dtype == object else value, allow_pickle=False)


@dataclasses.dataclass(frozen=True)
class _Given:
    """One ``--input``: as it was written, the input's name if it has one, and the file."""

    option: str
    name: str
    path: Path

    @classmethod
    def parse(cls, option: str) -> _Given:
        name, equals, text = option.partition("=")
        path = Path(text if equals else name)
        if not equals and path.suffix != ".npz":
            raise UsageError(f"--input {option!r} is not NAME=FILE.npy, nor a file .npz")
        return cls(option, name if equals else "", path)

    def read(self) -> dict[str, Any]:
        """The arrays that the file holds.

        Raises:
            InputError: It cannot be read.
        """
        try:
            if not stat.S_ISREG(self.path.stat().st_mode):
                raise OSError("it is no regular file")
            loaded = np.load(self.path, allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return {self.name: loaded}
            with loaded:
                return {key: loaded[key] for key in loaded.files}
        except Exception as error:
            # NumPy, zipfile and zlib have errors of their own for what is damaged.
            reason = first_line(error)
            if "pickle" in reason:  # what NumPy takes everything for that it does not know
                reason = "it holds no plain arrays, or is damaged"
            raise InputError(
                f"--input {self.option}: {self.path} cannot be read: {reason}"
            ) from error
