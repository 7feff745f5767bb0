"""Fixtures of the CPU's tests, by which what all TVM targets share is compiled and run."""

from tests.targets.cpu.conftest import compile_for_cpu, run_on_cpu

__all__ = ["compile_for_cpu", "run_on_cpu"]
