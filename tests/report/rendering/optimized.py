"""A report on an artifact that an optimization found."""

from __future__ import annotations

from ingot.compiler.optimization_record import Optimization


def optimized_report(figures):
    """The report of the fixture, whose compiled variant was found by a search."""
    accuracy = {
        "metric": "top-1", "unit": "%", "examples": 1000, "reference": 80.0, "value": 79.8,
        "loss": 0.2, "low": -0.6, "high": 1.0, "budget": 0.5,
    }  # fmt: skip
    speed = {"against": "fp32", "ratio": 3.0, "low": 2.9, "high": 3.1, "source": "measured"}
    trials = [
        {"name": "int8", "steps": ["int8"], "decision": "kept", "reason": "3.00x as fast as fp32",
         "bytes": 300_000, "accuracy": accuracy, "speed": speed},
        {"name": "bf16", "steps": ["bf16"], "decision": "rejected", "reason": "it failed: no code"},
    ]  # fmt: skip
    found = Optimization.model_validate(
        {
            "goal": "latency", "budget": 0.5, "reference": "fp32", "kept": ["int8"],
            "trials": trials, "speed": speed, "accuracy": accuracy, "bytes": 300_000,
            "reference_bytes": 1_000_000, "threads": 2, "machine": "a CPU",
            "notes": ["The data cannot resolve the budget."],
        }
    )  # fmt: skip
    report = figures.report()
    variants = [
        variant
        if variant.build is None
        else variant.model_copy(
            update={"build": variant.build.model_copy(update={"optimization": found})}
        )
        for variant in report.variants
    ]
    return report.model_copy(update={"variants": tuple(variants)})
