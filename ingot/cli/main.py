"""The command ``ingot``: its subcommands, loaded when they are called, and how errors leave it."""

from __future__ import annotations

import dataclasses
import importlib
import signal
import threading
import traceback
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from ingot.errors import IngotError

_INTERRUPTED = 130
_DEBUG = "--debug"


@dataclasses.dataclass(frozen=True)
class _Command:
    """Where a command is, and its line in ``ingot --help``."""

    module: str
    attribute: str
    summary: str


# Listing the commands must not import them: the compiler alone takes seconds to load.
COMMANDS = {
    "compile": _Command("compile", "compile_command", "Compile a model to an artifact."),
    "run": _Command("run", "run_command", "Run an artifact once on arrays from files."),
    "bench": _Command("bench", "bench", "Time a model or an artifact against its peers."),
    "profile": _Command("profile", "profile", "Show the time of each kernel of a model."),
    "report": _Command("report", "report", "Compare variants of a model in accuracy and speed."),
    "inspect": _Command("inspect", "inspect", "Show what an artifact says of itself."),
    "verify": _Command("verify", "verify", "Check an artifact: whole, fit for here, right."),
    "bisect": _Command("bisect", "bisect", "Find the pass that first breaks a model."),
    "passes": _Command("passes", "passes", "List the passes with their options."),
    "targets": _Command("targets", "targets", "List what models can be compiled for."),
    "models": _Command("models", "models_app", "List, pull and export reference models."),
    "doctor": _Command("doctor", "doctor", "Check this installation and machine."),
}


def _load(name: str) -> Any:
    command = COMMANDS[name]
    loaded = getattr(importlib.import_module(f"ingot.cli.{command.module}"), command.attribute)
    if not isinstance(loaded, typer.Typer):
        function, loaded = loaded, typer.Typer(add_completion=False)
        loaded.command(name, context_settings={"help_option_names": ["-h", "--help"]})(function)
    ready = typer.main.get_command(loaded)
    ready.name = name
    return ready


class _Interrupted(BaseException):
    """Ctrl-C, as an exception that the command-line library does not take for its own."""


def _interrupt(*_: object) -> None:
    raise _Interrupted


class _LazyGroup(typer.core.TyperGroup):
    """A group that knows its commands by name and line of help, and imports the one called."""

    # Contexts and commands are click's, of which typer may hold a copy of its own: their types are
    # left open here, so that both work.

    def list_commands(self, ctx: Any) -> list[str]:
        """Returns the names in the order of the table."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Returns a stand-in that holds the line of help."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        return typer.core.TyperCommand(cmd_name, help=COMMANDS[cmd_name].summary)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Imports the command that is called."""
        name, stand_in, rest = super().resolve_command(ctx, args)
        return name, _load(name) if name and stand_in else None, rest


app = typer.Typer(
    name="ingot",
    cls=_LazyGroup,
    help="ONNX model in; the fastest verified artifact for a CPU, a CUDA GPU or an NPU out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"ingot {version('ingot')}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option(_DEBUG, help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    del debug, version  # main() takes the one off the command line, the callback acts on the other


def main(arguments: list[str]) -> int:
    """Runs the command line and returns its exit code.

    An error becomes one line on standard error; with ``--debug``, anywhere, the traceback too.
    """
    debug = _DEBUG in arguments
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, _interrupt)
    try:
        app(args=[argument for argument in arguments if argument != _DEBUG], prog_name="ingot")
    except IngotError as error:
        return _report(error, str(error), error.exit_code, debug)
    except (_Interrupted, KeyboardInterrupt) as error:
        return _report(error, "interrupted; nothing was left half-written", _INTERRUPTED, debug)
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    return 0


def _report(error: BaseException, message: str, exit_code: int, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    line = " ".join(message.split())
    typer.secho(f"ingot: error: {line}", fg=typer.colors.RED, err=True)
    return exit_code
