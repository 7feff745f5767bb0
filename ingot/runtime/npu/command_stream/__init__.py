"""Executor ``command-stream``: a functional simulator of the Ethos-U55 and the Ethos-U65-256."""

from __future__ import annotations

from typing import Any

from ingot.runtime.npu.command_stream.decode import CommandStreamError

__all__ = ["CommandStreamError", "CommandStreamExecutor"]


def __getattr__(name: str) -> Any:
    # On first use, for the executor needs Vela's codec and the rest of the package does not.
    if name == "CommandStreamExecutor":
        from ingot.runtime.npu.command_stream.executor import CommandStreamExecutor

        return CommandStreamExecutor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
