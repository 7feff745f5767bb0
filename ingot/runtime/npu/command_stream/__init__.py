"""Executor ``command-stream``: a functional simulator of the Ethos-U55 and the Ethos-U65-256."""

from ingot.runtime.npu.command_stream.decode import CommandStreamError
from ingot.runtime.npu.command_stream.executor import CommandStreamExecutor

__all__ = ["CommandStreamError", "CommandStreamExecutor"]
