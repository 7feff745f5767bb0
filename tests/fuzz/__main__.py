"""``python -m tests.fuzz``: judges mutants of every kind; ends with 1 where something is wrong."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from ingot.files import CACHE_VARIABLE
from tests.fuzz.forkserver import GOOD, judged, run_mutants
from tests.fuzz.kinds import KINDS

_MOST_SHOWN = 20


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    mutants = int(os.environ.get("FUZZ_MUTANTS") or 100_000)
    parser.add_argument("--mutants", type=int, default=mutants, help="of all kinds together")
    parser.add_argument("--seed", type=int, default=0, help="the first mutant's number")
    parser.add_argument("--kinds", default=",".join(KINDS), help="a,b; default: all")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", type=int, help="judge this mutant here, with its traceback")
    options = parser.parse_args()
    names = options.kinds.split(",")
    shares = {name: KINDS[name].share for name in names}
    findings = 0
    scratch = Path(tempfile.mkdtemp(prefix="ingot-fuzz-"))
    os.environ[CACHE_VARIABLE] = str(scratch / "cache")
    try:
        for name in names:
            folder = scratch / name
            folder.mkdir()
            kind = KINDS[name].make(folder)
            if options.only is not None:
                print(name, options.only, judged(kind, options.only, folder))
                continue
            count = max(1, round(options.mutants * shares[name] / sum(shares.values())))
            seeds = range(options.seed, options.seed + count)
            outcomes = run_mutants(kind, seeds, folder, workers=options.workers)
            findings += len(outcomes.findings)
            parts = ", ".join(f"{outcomes.counts[good]} {good}" for good in GOOD)
            rate = count / outcomes.elapsed
            print(
                f"{name}: {count} mutants, {parts}, {len(outcomes.findings)} findings; "
                f"{rate:.0f} a second",
                flush=True,
            )
            for seed, said in sorted(outcomes.findings.items())[:_MOST_SHOWN]:
                print(f"  {name} {seed}: {said}", flush=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return int(findings > 0)


if __name__ == "__main__":
    sys.exit(main())
