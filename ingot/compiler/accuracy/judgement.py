"""The record of a loss of accuracy held to a budget: light to import, for who only reads it."""

from __future__ import annotations

from typing import Literal

import pydantic

Verdict = Literal["held", "broken", "not resolved"]
_ROUNDING = 1e-9


class Judgement(pydantic.BaseModel):
    """A model's loss of accuracy against a reference on the same examples.

    Attributes:
        metric: The metric's name.
        unit: Its unit; losses are in it, too ("%": percentage points).
        examples: How many examples both answered.
        reference: The reference's value.
        value: The model's value.
        loss: How much worse it is, so that a gain is negative.
        low: Lower end of the loss's paired 95 % interval.
        high: Upper end.
        budget: The largest loss that is allowed.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    metric: str
    unit: str
    examples: int
    reference: float
    value: float
    loss: float
    low: float
    high: float
    budget: float

    @property
    def verdict(self) -> Verdict:
        """``held`` or ``broken`` where the whole interval lies on one side of the budget."""
        if self.high <= self.budget + _ROUNDING:
            return "held"
        return "broken" if self.low > self.budget + _ROUNDING else "not resolved"

    @property
    def within(self) -> bool:
        """Whether the loss itself is no larger than the budget, resolved or not."""
        return self.loss <= self.budget + _ROUNDING

    @property
    def resolution(self) -> float:
        """Half of the interval's width: smaller losses than this cannot be told from none."""
        return (self.high - self.low) / 2.0

    def __str__(self) -> str:
        """The loss in words, with its interval, and whether that tells anything."""
        unit = "points" if self.unit == "%" else self.metric
        told = (
            f"{self.loss:+.2f} {unit} of {self.metric} lost "
            f"(95 % interval {self.low:+.2f} to {self.high:+.2f}, budget {self.budget:g})"
        )
        if self.verdict == "not resolved":
            told += f"; {self.doubt}"
        return told

    @property
    def doubt(self) -> str:
        """What the data cannot tell, in words."""
        return f"{self.examples:,} examples cannot tell losses below {self.resolution:.2f}"
