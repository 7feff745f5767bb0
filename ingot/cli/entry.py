"""The console script, on an installation that may be the runtime alone."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from pathlib import Path


def run() -> None:
    """Runs the command line, or says how to install it."""
    if importlib.util.find_spec("typer") is None:
        sys.stderr.write(
            "ingot: error: this is the runtime alone, for `import ingot; ingot.load(path)`; "
            "the command line comes with: pip install 'ingot[compile]'\n"
        )
        sys.exit(2)
    # Recipes name passes, and reports metrics, by modules that may lie in the current folder. It
    # comes last, so that no file in it stands in for a package.
    with contextlib.suppress(FileNotFoundError):
        sys.path.append(str(Path.cwd()))
    try:
        from ingot.cli.main import main

        code = main(sys.argv[1:])
    except KeyboardInterrupt:  # before the command line could notice it
        sys.stderr.write("ingot: error: interrupted\n")
        code = 130
    sys.exit(code)
