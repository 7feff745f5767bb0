"""``ingot inspect``: what an artifact says of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ingot.cli.optimization import optimization_tables
from ingot.cli.pruning import inspect_model, pruned_tables
from ingot.cli.text import PlainConsole
from ingot.compiler.optimization_record import read_optimization
from ingot.models.reference import REFERENCE_MODELS
from ingot.report.npu import NpuEstimate, read_estimate
from ingot.runtime.artifact import ArtifactReader
from ingot.runtime.manifest import Manifest

_KIB = 1024
# Of the manifest's placement: what ONNX Runtime runs.
_FALLBACK = "onnxruntime"


def inspect(
    artifact: Annotated[
        str, typer.Argument(help="An *.ingot file; or a model: an *.onnx file, or its name.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as it is.")] = False,
) -> None:
    """Show what an artifact says of itself; checks no digest but an NPU's (see `ingot verify`).

    Of a model it shows the groups of channels that can be pruned, and which layers cannot, and why.

    Example: `ingot inspect model.ingot`

    Example: `ingot inspect mobilenetv2`
    """
    if Path(artifact).suffix == ".onnx" or artifact in REFERENCE_MODELS:
        inspect_model(artifact, as_json=as_json)
        return
    path = Path(artifact)
    manifest = ArtifactReader(path).manifest
    if as_json:
        typer.echo(manifest.to_json(), nl=False)
        return
    console = PlainConsole()
    console.print(_facts(path, manifest))
    if "npu" in manifest.placement:
        console.print(_npu(manifest.placement["npu"], manifest.placement["cpu"]))
        console.print(_layers(read_estimate(path)))
    if _FALLBACK in manifest.placement:
        console.print(_left(manifest))
    console.print(_members(manifest))
    if manifest.passes:
        console.print(_passes(manifest))
    for table in pruned_tables(manifest):
        console.print(table)
    found = read_optimization(manifest.measured)
    for part in () if found is None else optimization_tables(found):
        console.print(part, soft_wrap=isinstance(part, str))


def _facts(path: Path, manifest: Manifest) -> Table:
    table = Table(box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    size = f"{path.stat().st_size / _KIB:,.0f} KiB"
    rows = {
        "artifact": f"{path} ({size}, format {manifest.format_version})",
        "model": f"{manifest.name}, opset {manifest.source['opset']}",
        "source sha256": manifest.source["sha256"],
        "inputs": "\n".join(map(str, manifest.inputs)),
        "outputs": "\n".join(map(str, manifest.outputs)),
        "target": f"{manifest.target.spec} ({manifest.target.architecture})",
        "needs": " ".join(manifest.target.features),
        "precision": _precision(manifest),
        "recipe": str(manifest.recipe["name"]),
        "placement": ", ".join(
            f"{where}: {part['nodes']} nodes" for where, part in manifest.placement.items()
        ),
        "work": "unknown"
        if manifest.operations is None
        else f"{manifest.operations:,} operations an inference, a multiply-add being two",
        "tools": ", ".join(f"{name} {version}" for name, version in manifest.tools.items()),
    }
    for key, value in rows.items():
        table.add_row(key, value)
    outcome = manifest.measured.get("verification")
    if outcome and outcome["ran"]:
        inputs = f" on {outcome['samples']} inputs" if "samples" in outcome else ""
        table.add_row("checked", f"max difference {outcome['max_rel_error']:.1e} of scale{inputs}")
        if outcome.get("sizes"):
            table.add_row("checked at", _sizes(outcome["sizes"]))
    return table


def _precision(manifest: Manifest) -> str:
    """The default, and how many layers have which."""
    default = str(manifest.precision["default"])
    counts = Counter(manifest.precision["layers"].values())
    parts = ", ".join(f"{kind}: {count}" for kind, count in counts.items())
    return f"{default} (layers by precision: {parts})" if parts else default


def _sizes(sizes: Sequence[Mapping[str, int]]) -> str:
    """The sizes of each open dimension that the code was checked at, ``N = 1, 2, 3``."""
    found = {symbol: sorted({one[symbol] for one in sizes if symbol in one}) for symbol in sizes[0]}
    return "; ".join(f"{name} = {', '.join(map(str, values))}" for name, values in found.items())


def _npu(npu: Mapping[str, Any], cpu: Mapping[str, Any]) -> Table:
    """What runs on the NPU, and what that costs by Vela's estimate."""
    table = Table("npu", "", box=None, header_style="bold")
    estimate = npu["estimate"]
    rate = estimate["inferences_per_second"]
    rows = {
        "accelerator": f"{npu.get('accelerator', 'none')}, {npu.get('system_configuration', '')}, "
        f"{npu.get('memory_mode', '')}",
        "regions": ", ".join(npu["regions"]) or "none",
        "share": f"{npu['share_of_macs']:.1%} of the multiply-adds",
        "borders": f"{npu['borders']} tensors, {npu['border_bytes']:,} bytes cross",
        "estimated cycles": f"{estimate['cycles']:,}",
    }
    if rate is not None:
        clock = estimate["clock_hz"] / 1e6
        rows["estimated rate"] = f"{rate:.1f} inferences/s at {clock:.0f} MHz"
    for name, memory in estimate["memories"].items():
        rows[f"estimated {name}"] = (
            f"peak {memory['peak']:,}, read {memory['read']:,}, written {memory['written']:,} bytes"
        )
    for entry in cpu["left"]:
        rows[f"on the CPU: {entry['node']}"] = f"{entry['operator']}: {entry['reason']}"
    for key, value in rows.items():
        table.add_row(key, value)
    return table


def _left(manifest: Manifest) -> Table:
    """What ONNX Runtime runs, and why."""
    table = Table("left to ONNX Runtime", "operator", "reason", box=None, header_style="bold")
    own = {name: r for name, r in manifest.regions.items() if r.executor == _FALLBACK}
    for name, region in own.items():
        values = [spec.name for spec in region.inputs], [spec.name for spec in region.outputs]
        borders = " -> ".join(", ".join(names) or "nothing" for names in values)
        table.add_row(name, f"{len(region.nodes)} nodes", borders, style="bold")
    for entry in manifest.placement[_FALLBACK]["left"]:
        table.add_row(entry["node"], entry["operator"], entry["reason"])
    return table


def _layers(estimate: NpuEstimate) -> Table:
    """Vela's estimate, layer by layer."""
    table = Table("layer", "operations", box=None, header_style="bold")
    for heading in ("estimated cycles", "of arithmetic", "multiply-adds", "utilization"):
        table.add_column(heading, justify="right")
    for layer in estimate.layers:
        table.add_row(
            layer.name,
            ", ".join(layer.operators),
            f"{layer.cycles:,}",
            f"{layer.npu_cycles:,}",
            f"{layer.macs:,}",
            f"{layer.utilization:.0%}",
        )
    return table


def _members(manifest: Manifest) -> Table:
    table = Table("member", "bytes", box=None, header_style="bold")
    table.add_column("sha256", overflow="fold")
    for name, member in manifest.members.items():
        table.add_row(name, f"{member.size:,}", member.sha256)
    return table


def _passes(manifest: Manifest) -> Table:
    table = Table("pass", "applied", "nodes", "seconds", box=None, header_style="bold")
    for record in manifest.passes:
        nodes = f"{record['nodes_before']} → {record['nodes_after']}"
        table.add_row(record["name"], str(record["applied"]), nodes, f"{record['seconds']:.3f}")
    return table
