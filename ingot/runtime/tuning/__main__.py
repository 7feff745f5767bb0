"""``python -m ingot.runtime.tuning [--json]``: the checks where only the base install is."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys

from ingot.runtime.tuning import Finding, tune


def main() -> None:
    """Prints what was found, a paragraph each, or as JSON."""
    parser = argparse.ArgumentParser(prog="python -m ingot.runtime.tuning", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    arguments = parser.parse_args()
    findings = tune()
    if arguments.json:
        text = json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2)
    else:
        text = "\n".join(map(_paragraph, findings))
    sys.stdout.write(text + "\n")


def _paragraph(finding: Finding) -> str:
    state = finding.state if finding.cost is None else f"costs {finding.cost}"
    command = f"$ {finding.command}" if finding.command else ""
    what_to_do = filter(None, (finding.advice, command))
    return "\n    ".join([f"{state}: {finding.check}: {finding.found}", *what_to_do])


if __name__ == "__main__":
    main()
