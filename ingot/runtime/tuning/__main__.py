"""``python -m ingot.runtime.tuning [--json]``: the checks where only the base install is."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys

from ingot.runtime.tuning import tune


def main() -> None:
    """Prints what was found, a paragraph each, or as JSON."""
    parser = argparse.ArgumentParser(prog="python -m ingot.runtime.tuning", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    arguments = parser.parse_args()
    findings = tune()
    if arguments.json:
        sys.stdout.write(json.dumps([dataclasses.asdict(f) for f in findings], indent=2) + "\n")
        return
    for finding in findings:
        state = finding.state if finding.cost is None else f"costs {finding.cost}"
        lines = [f"{state}: {finding.check}: {finding.found}"]
        if finding.advice:
            lines.append(f"    {finding.advice}")
        if finding.command:
            lines.append(f"    $ {finding.command}")
        sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
