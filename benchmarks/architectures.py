"""Current architectures, with fixed and with open sizes: what compiles, and what it costs.

Builds each network of benchmarks/networks/catalog.py with seeded weights, compiles it, which holds
it to ONNX Runtime at several sizes, and prints one row for each:

    python benchmarks/architectures.py --json architectures.json

or for a part: --models vit,gpt2_decode --sizes open. A network that is refused, or whose code is
not right, is said below the table, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import onnx

from benchmarks.networks.catalog import NETWORKS, by_name
from benchmarks.tables import markdown_table, names
from ingot.compiler.build import Artifact, compile_model
from ingot.errors import IngotError
from ingot.report.machine import machine_facts

_ALL = tuple(network.name for network in NETWORKS)
_SIZES = ("fixed", "open")
_MB = 1e6
_HEADINGS = ("network", "sizes", "weights MB", "artifact MB", "compile s", "compiled", "left",
             "difference")  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Compiles, prints the table and writes the JSON; returns the exit code."""
    options = _parser().parse_args(arguments)
    unknown = [name for name in options.models if name not in _ALL]
    if unknown:
        print(f"error: no network is called {unknown[0]}; there are {', '.join(_ALL)}",
              file=sys.stderr)  # fmt: skip
        return 2
    rows, failures = [], []
    for name in options.models:
        for sizes in options.sizes:
            print(f"{name}, {sizes} sizes", file=sys.stderr, flush=True)
            try:
                rows.append(_row(name, sizes, small=options.small, target=options.target))
            except IngotError as error:
                failures.append(f"{name}, {sizes} sizes: {error}")
    print(markdown_table(_HEADINGS, [_cells(row) for row in rows], text_columns=2))
    for failure in failures:
        print(failure)
    if options.json is not None:
        document = {
            "machine": machine_facts().model_dump(mode="json"),
            "rows": rows,
            "failures": failures,
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return int(bool(failures))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=names, default=_ALL, help="names: a,b")
    parser.add_argument("--sizes", type=names, default=_SIZES, help="fixed, open, or both")
    parser.add_argument("--small", action="store_true", help="the small forms, as in the tests")
    parser.add_argument("--target", default="cpu", help="such as cpu:mcpu=znver4")
    parser.add_argument("--json", type=Path, help="a file that receives the rows")
    return parser


def _row(name: str, sizes: str, *, small: bool, target: str) -> dict[str, Any]:
    model = by_name(name).model(open_sizes=sizes == "open", small=small)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.onnx"
        onnx.save(model, path)
        begun = time.perf_counter()
        artifact = compile_model(path, path.with_suffix(".ingot"), target=target)
        seconds = time.perf_counter() - begun
        return {
            "model": name,
            "sizes": sizes,
            "weights_mb": path.stat().st_size / _MB,
            "artifact_mb": artifact.size / _MB,
            "compile_s": seconds,
            **_placed(artifact),
            "max_rel_error": artifact.manifest.measured["verification"]["max_rel_error"],
        }


def _placed(artifact: Artifact) -> dict[str, Any]:
    placement = artifact.manifest.placement
    left = placement.get("onnxruntime", {})
    return {
        "compiled": placement.get("cpu", {}).get("nodes", 0),
        "left": left.get("nodes", 0),
        "reasons": [f"{entry['operator']}: {entry['reason']}" for entry in left.get("left", ())],
    }


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["model"],
        row["sizes"],
        f"{row['weights_mb']:.1f}",
        f"{row['artifact_mb']:.1f}",
        f"{row['compile_s']:.1f}",
        str(row["compiled"]),
        str(row["left"]),
        f"{row['max_rel_error']:.1e}",
    ]


if __name__ == "__main__":
    sys.exit(main())
