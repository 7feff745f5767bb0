"""How an accuracy budget was held: light to import, for who only reads it."""

from __future__ import annotations

import pydantic

from ingot.compiler.accuracy.judgement import Judgement


class BudgetFacts(pydantic.BaseModel):
    """How an accuracy budget was held.

    Attributes:
        budget: The largest loss, in the metric's unit.
        metric: The metric's name.
        unit: The metric's unit.
        examples: Labelled examples it was held on.
        reference: The float model's value.
        quantized: With all layers in integers.
        result: Of what was compiled.
        kept_in_float: Layers in float, the first to be taken first.
        tried: The value by how many layers were in float.
        judgement: Of what was compiled, with its paired interval; None in artifacts of before it
            was judged so.
        finer: The same by the finer metric that decided where the interval did not; None where
            it was not asked, or there is none.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    budget: float
    metric: str
    unit: str
    examples: int
    reference: float
    quantized: float
    result: float
    kept_in_float: tuple[str, ...]
    tried: dict[str, float]
    judgement: Judgement | None = None
    finer: Judgement | None = None
