"""``ingot doctor``: is everything here that compiling and running needs?"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from ingot.cli.text import PlainConsole
from ingot.runtime.cpu_features import machine_architecture
from ingot.runtime.cpu_quota import usable_cpus
from ingot.runtime.native_library import library_path, native_library
from ingot.runtime.tuning import tune

_PACKAGES = ("ingot", "apache-tvm", "apache-tvm-ffi", "onnx", "onnx-ir", "onnxscript", "onnxsim",
             "onnxruntime", "numpy", "ziglang")  # fmt: skip
_SMALLEST_FREE = 1 << 30
_COLORS = {"much": "red", "some": "yellow", "good": "green"}


def doctor(
    tuning: Annotated[
        bool,
        typer.Option("--tune", help="Say what costs speed here and what to do; changes nothing."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check this installation and machine; exit code 1 when something is wrong.

    Example: `ingot doctor --tune`
    """
    if tuning:
        _tune(as_json)
        return
    checks: dict[str, Callable[[], str]] = {
        "machine": _machine,
        "packages": _packages,
        "runtime": _runtime,
        "code generation": _code_generation,
        "linker": _linker,
        "temporary folder": _temporary_folder,
    }
    findings = []
    for name, check in checks.items():
        try:
            findings.append({"check": name, "ok": True, "found": check()})
        except Exception as error:  # noqa: BLE001
            # A doctor reports whatever is wrong and goes on to the next check.
            findings.append({"check": name, "ok": False, "found": " ".join(str(error).split())})
    if as_json:
        typer.echo(json.dumps(findings, indent=2))
    else:
        table = Table("", "check", box=None, header_style="bold")
        table.add_column("found", overflow="fold")
        for finding in findings:
            mark = Text("ok", "green") if finding["ok"] else Text("wrong", "red")
            table.add_row(mark, str(finding["check"]), str(finding["found"]))
        PlainConsole().print(table)
    if not all(finding["ok"] for finding in findings):
        raise typer.Exit(1)


def _tune(as_json: bool) -> None:
    findings = tune()
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
        return
    table = Table("costs", "check", box=None, header_style="bold")
    table.add_column("found, and what to do", overflow="fold")
    for finding in findings:
        mark = Text(finding.cost or finding.state, _COLORS.get(finding.cost or finding.state, ""))
        command = f"$ {finding.command}" if finding.command else ""
        lines = filter(None, (finding.found, finding.advice, command))
        table.add_row(mark, finding.check, "\n".join(lines))
    PlainConsole().print(table)


def _machine() -> str:
    from ingot.targets.cpu.machine import describe_cpu

    cpu = describe_cpu("native", None)
    vectors = f"{cpu.vector_bytes * 8}-bit vectors"
    return f"{machine_architecture()}, {cpu.mcpu}, {usable_cpus()} CPUs to use, {vectors}"


def _packages() -> str:
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)


def _runtime() -> str:
    native_library()
    return str(library_path())


def _code_generation() -> str:
    from ingot.targets.cpu.machine import describe_cpu

    return str(describe_cpu("native", None).tvm_target())


def _linker() -> str:
    done = subprocess.run(
        [sys.executable, "-m", "ziglang", "version"], capture_output=True, text=True, check=True
    )
    return f"zig {done.stdout.strip()}"


def _temporary_folder() -> str:
    folder = Path(tempfile.gettempdir())
    free = shutil.disk_usage(folder).free
    if free < _SMALLEST_FREE or not os.access(folder, os.W_OK):
        raise OSError(f"{folder} has {free >> 20} MiB free or cannot be written; set TMPDIR")
    return f"{folder}, {free >> 30} GiB free"
