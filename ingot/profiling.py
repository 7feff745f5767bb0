"""Profiling sessions: all of :mod:`ingot.runtime.profiling.api`; needs the base install alone."""

from ingot.runtime.profiling.api import *  # noqa: F403
from ingot.runtime.profiling.api import __all__ as __all__
