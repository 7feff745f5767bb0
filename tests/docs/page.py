"""Runs the examples of a Markdown page, in order, as a reader would.

Run as a script, so that a page has a process and a namespace of its own:
``python page.py PAGE FOLDER [--network]``.

What a fenced block is, its language says: ``python`` is run, in one namespace per page;
``console`` holds commands after ``$`` and, below each, lines that it prints; ``sh`` is handed to
bash. Any other language is only shown. A comment on the line before a block changes that:

- ``<!-- file: NAME -->``: the block is written to a file instead;
- ``<!-- output -->``: lines that the Python block before prints;
- ``<!-- exits: N -->``: the last command of the block ends with this code;
- ``<!-- network -->``: run only where the network may be used;
- ``<!-- not run: REASON -->``: only shown.

Lines of output are given in order, with ``…`` for anything in between; lines may be left out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_FENCE = re.compile(r"^```(\w*)\s*$")
_DIRECTIVE = re.compile(r"^<!-- (file|output|exits|network|not run)(?:: (.+?))? -->$")
_SHELL = set("|&;<>$`*?(){}~")
_LANGUAGES = ("python", "console", "sh")


class PageError(AssertionError):
    """An example does not do what the page says; names its line."""


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        line: Number of its first line in the page.
        language: What stands after the fence.
        text: Its lines.
        directives: From the comments before it.
    """

    line: int
    language: str
    text: str
    directives: dict[str, str]


def blocks(page: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    directives: dict[str, str] = {}
    fence: tuple[int, str] | None = None
    lines: list[str] = []
    for number, line in enumerate(page.splitlines(), start=1):
        if fence is not None:
            if line.rstrip() == "```":
                yield Block(fence[0], fence[1], "\n".join(lines) + "\n", directives)
                fence, lines, directives = None, [], {}
            else:
                lines.append(line)
        elif opened := _FENCE.match(line):
            fence = (number + 1, opened.group(1))
        elif directive := _DIRECTIVE.match(line.strip()):
            directives[directive.group(1)] = directive.group(2) or ""
        elif line.strip():
            directives = {}
    if fence is not None:
        raise PageError(f"line {fence[0] - 1}: the block has no end")


def commands(text: str) -> list[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines that are shown below it."""
    found: list[tuple[str, list[str]]] = []
    continued = False
    for line in text.splitlines():
        if continued:
            command, shown = found[-1]
            found[-1] = (command.removesuffix("\\") + line.removeprefix("> ").strip(), shown)
        elif line.startswith("$ "):
            found.append((line.removeprefix("$ "), []))
        elif found:
            found[-1][1].append(line)
        else:
            raise PageError(f"a console block begins with its output: {line!r}")
        continued = found[-1][0].endswith("\\")
    return found


def require_output(shown: list[str], printed: str) -> None:
    """Checks that lines were printed, in order; ``…`` stands for anything.

    Raises:
        PageError: A line was not.
    """
    left = [_plain(line) for line in printed.splitlines()]
    for line in shown:
        wanted = _plain(line)
        if wanted in ("", "…"):
            continue
        pattern = re.compile(".*".join(map(re.escape, re.split(r" ?… ?", wanted))))
        while left and not pattern.fullmatch(left[0]):
            left.pop(0)
        if not left:
            raise PageError(f"not printed: {line!r}\n--- printed was:\n{printed}")
        left.pop(0)


def _plain(line: str) -> str:
    return " ".join(line.split())


class Runner:
    """Runs blocks in the current folder; Python blocks share a namespace."""

    def __init__(self, *, network: bool) -> None:
        """Takes whether blocks that need the network are run."""
        self._network = network
        self._namespace: dict[str, Any] = {"__name__": "__page__"}
        self._printed = ""

    def run(self, block: Block) -> None:
        """Does with a block what its language and its directives say.

        Raises:
            PageError: It fails, or prints something else than the page shows.
        """
        directives = block.directives
        try:
            if "not run" in directives or ("network" in directives and not self._network):
                return
            if "file" in directives:
                Path(directives["file"]).write_text(block.text, encoding="utf-8")
            elif "output" in directives:
                require_output(block.text.splitlines(), self._printed)
            elif block.language == "python":
                self._run_python(block)
            elif block.language == "console":
                self._run_console(block.text, int(directives.get("exits", 0)))
            elif block.language == "sh":
                _require_code("the script", _shell(block.text), 0)
        except PageError as error:
            raise PageError(f"line {block.line}: {error}") from error

    def _run_python(self, block: Block) -> None:
        # Blank lines put the traceback's line numbers where they are in the page.
        code = compile("\n" * (block.line - 1) + block.text, "<page>", "exec")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(code, self._namespace)
        self._printed = printed.getvalue()

    def _run_console(self, text: str, last_code: int) -> None:
        found = commands(text)
        for position, (command, shown) in enumerate(found, start=1):
            code = last_code if position == len(found) else 0
            outcome = _ingot(command) if _is_plain_ingot(command) else _shell(command)
            _require_code(command, outcome, code)
            require_output(shown, outcome[1])


def _is_plain_ingot(command: str) -> bool:
    unquoted = re.sub(r"\"[^\"$`]*\"|'[^']*'", "", command)
    return command.startswith("ingot ") and not _SHELL & set(unquoted)


def _ingot(command: str) -> tuple[int, str]:
    """Runs the command line in this process: the compiler is loaded once for all."""
    from ingot.cli.main import main

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = main(shlex.split(command)[1:])
    return code, printed.getvalue()


def _shell(script: str) -> tuple[int, str]:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


def _require_code(what: str, outcome: tuple[int, str], code: int) -> None:
    if outcome[0] != code:
        raise PageError(f"{what} ended with {outcome[0]}, not {code}:\n{outcome[1]}")


def main(page: Path, folder: Path, *, network: bool) -> None:
    """Runs a page's blocks in a folder."""
    text = page.read_text(encoding="utf-8")
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    os.environ["COLUMNS"] = "120"
    os.chdir(folder)
    sys.path.insert(0, "")
    runner = Runner(network=network)
    for block in blocks(text):
        runner.run(block)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]), network="--network" in sys.argv)
