"""The command ``ingot``: its subcommands, loaded when they are called, and how errors leave it."""

from __future__ import annotations

import dataclasses
import errno
import importlib
import os
import signal
import sys
import traceback
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from ingot.cli import interruption
from ingot.cli.text import escape_what_streams_cannot_encode, printable
from ingot.errors import IngotError, first_line, one_line

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
    "optimize": _Command(
        "optimize", "optimize_command", "Find the best artifact within an accuracy budget."
    ),
    "run": _Command("run", "run_command", "Run an artifact once on arrays from files."),
    "bench": _Command("bench", "bench", "Time a model or an artifact against its peers."),
    "profile": _Command("profile", "profile", "Show the time of each kernel of a model."),
    "serve": _Command("serve", "serve", "Serve artifacts over HTTP and gRPC."),
    "serve-tune": _Command("serve_tune", "serve_tune", "Find how to batch a model."),
    "trace": _Command("trace", "trace", "Show where the time of a profiling session went."),
    "report": _Command("report", "report", "Compare variants of a model in accuracy and speed."),
    "history": _Command("history", "history_app", "Find what changed since earlier runs."),
    "inspect": _Command(
        "inspect",
        "inspect",
        "Show what an artifact says, or what can be pruned.",
    ),
    "verify": _Command("verify", "verify", "Check an artifact: whole, fit for here, right."),
    "sign": _Command("sign", "sign", "Sign an artifact."),
    "keygen": _Command("sign", "keygen", "Make a key pair that artifacts are signed with."),
    "bisect": _Command("bisect", "bisect", "Find the pass that first breaks a model."),
    "passes": _Command("passes", "passes", "List the passes with their options."),
    "probe": _Command("probe", "probe", "Measure this machine against its processor's preset."),
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
    escape_what_streams_cannot_encode()
    with interruption.noticed():
        try:
            code = _run([argument for argument in arguments if argument != _DEBUG], debug)
            sys.stdout.flush()
        except (interruption.Interrupted, KeyboardInterrupt) as error:
            return _report_interruption(error, debug)
        except BrokenPipeError:
            # Its reader has gone, as ``head`` does: nobody is there to be told of it.
            _stop_writing()
            return 128 + signal.SIGPIPE
        except OSError as error:
            _stop_writing()
            return _report(error, f"standard output cannot be written: {error.strerror}", 1, debug)
    return code


def _run(arguments: list[str], debug: bool) -> int:
    try:
        app(args=arguments, prog_name="ingot")
    except SystemExit as exit_:
        if interruption.happened():
            return _report_interruption(exit_, debug)
        return exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
    except BrokenPipeError:
        raise
    except Exception as error:
        # What was interrupted may have taken that for a failure of its own.
        if interruption.happened():
            return _report_interruption(error, debug)
        if isinstance(error, IngotError):
            return _report(error, str(error), error.exit_code, debug)
        if isinstance(error, MemoryError):
            return _report(error, "there is no memory left", 1, debug)
        if isinstance(error, OSError) and error.filename is None and error.errno == errno.ENOSPC:
            raise
        said = f"{type(error).__name__}: {first_line(error)}"
        return _report(error, f"{said} (unexpected; --debug shows where it comes from)", 1, debug)
    return 0


def _report_interruption(error: BaseException, debug: bool) -> int:
    return _report(error, "interrupted; nothing was left half-written", _INTERRUPTED, debug)


def _stop_writing() -> None:
    """Lets go what standard output does not take: Python would try once more at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _report(error: BaseException, message: str, exit_code: int, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    line = one_line(printable(" ".join(message.split())))
    typer.secho(f"ingot: error: {line}", fg=typer.colors.RED, err=True)
    return exit_code
