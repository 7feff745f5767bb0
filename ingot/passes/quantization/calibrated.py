"""Passes that look at calibration data."""

from __future__ import annotations

import abc
from typing import ClassVar, TypeVar

from ingot.calibration.collection import Calibration
from ingot.errors import UsageError
from ingot.passes.base import LOSSY, IngotPass, PassOptions, Tolerance

OptionsT = TypeVar("OptionsT", bound=PassOptions)


class CalibratedPass(IngotPass[OptionsT], abc.ABC):
    """Base of the passes that need samples of the model's inputs.

    Attributes:
        needs_data: Whether the pass can do nothing without samples; one that can does less.

    Whoever makes the passes of a recipe gives each of these the samples before it runs.
    """

    tolerance: ClassVar[Tolerance] = LOSSY
    needs_data: ClassVar[bool] = True

    def __init__(self, options: OptionsT | None = None) -> None:
        """Takes validated options, or the defaults."""
        super().__init__(options)
        self._calibration: Calibration | None = None

    def calibrate_with(self, calibration: Calibration) -> None:
        """Gives the pass its samples."""
        self._calibration = calibration

    @property
    def has_data(self) -> bool:
        """Whether samples were given."""
        return self._calibration is not None

    @property
    def calibration(self) -> Calibration:
        """The samples.

        Raises:
            UsageError: None were given; says how to.
        """
        if self._calibration is None:
            raise UsageError(
                f"'{self.name}' needs calibration data: give it with --calibration PATH, with "
                "calibration= in Python, or as the recipe's key 'calibration'"
            )
        return self._calibration
