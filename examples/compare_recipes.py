"""A build step: compare two recipes with ONNX Runtime, and fail when accuracy or memory got worse.

The command line does the same:
    ingot report cifar_resnet --recipe fp32 --recipe none --fail-on "accuracy<-0.5" -o report

Run: python examples/compare_recipes.py [FOLDER]    (exit code 1 when a rule fails)
"""

from __future__ import annotations

import sys
from pathlib import Path

import ingot
from ingot.models.catalog import resolve

NO_FUSION = {"name": "cleanup only", "passes": ["cleanup"]}
RULES = ["accuracy<-0.5", "memory>3x", "size>1.5x"]


def tell(what: str, done: int, total: int) -> None:
    """Prints each step once; ``done`` of ``total`` would feed a progress bar."""
    if done in (0, total):
        print(f"{what} ...", file=sys.stderr)


def main(folder: Path) -> int:
    """Writes the report and returns the exit code."""
    model = resolve("cifar_resnet")
    report = ingot.compare(
        model.path,
        ["fp32", NO_FUSION],
        model.default_dataset,
        preprocessing=model.preprocessing,
        limit=200,  # images; leave it out for all
        runs=30,
        fail_on=RULES,
        progress=tell,
    )
    print(f"report: {report.write(folder)}")
    for verdict in report.verdicts:
        print(verdict)
    for check in report.checks:
        print("failed" if check.failed else "passed", check.rule, "-", check.explanation)
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "recipes-report")))
