"""Which processors of this machine share a core or a memory node, and an order to use them in."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ingot.errors import UsageError

Placement = Literal["compact", "spread"]
_ROOT = Path("/")


@dataclasses.dataclass(frozen=True)
class Processor:
    """A processor that threads can be bound to.

    Attributes:
        number: The system's number of it.
        core: The least number among the processors of its physical core.
        node: Its memory node.
    """

    number: int
    core: int
    node: int


def parse_list(text: str) -> list[int]:
    """Returns the numbers of a list as the kernel writes them, ``0-3,8``.

    Raises:
        ValueError: It is none.
    """
    numbers: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def processors(root: Path = _ROOT) -> list[Processor]:
    """Returns the processors that this process may use, by number.

    Where the system does not tell of cores or nodes, each processor is a core of its own, and all
    are of node 0.

    Args:
        root: Where ``/sys`` is.
    """
    usable = sorted(os.sched_getaffinity(0))
    nodes: dict[int, int] = {}
    for folder in sorted((root / "sys/devices/system/node").glob("node[0-9]*")):
        for number in _read_list(folder / "cpulist"):
            nodes[number] = int(folder.name.removeprefix("node"))
    return [
        Processor(number, min(_siblings(number, root)), nodes.get(number, 0)) for number in usable
    ]


def _siblings(number: int, root: Path) -> list[int]:
    folder = root / f"sys/devices/system/cpu/cpu{number}/topology"
    return _read_list(folder / "thread_siblings_list") or [number]


def _read_list(path: Path) -> list[int]:
    try:
        return parse_list(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return []


def ordered(placement: Placement, found: Sequence[Processor]) -> list[int]:
    """Returns processors in the order in which threads are bound to them.

    Args:
        placement: ``compact`` fills one node before the next; ``spread`` takes nodes in turn. Both
            take a processor of each physical core before a second one.
        found: The processors.
    """
    by_node: dict[int, list[Processor]] = {}
    for processor in found:
        by_node.setdefault(processor.node, []).append(processor)
    queues = [_cores_first(each) for _, each in sorted(by_node.items())]
    if placement == "compact":
        return [number for queue in queues for number in queue]
    turns = itertools.zip_longest(*queues)
    return [number for turn in turns for number in turn if number is not None]


def _cores_first(found: Sequence[Processor]) -> list[int]:
    """Orders the processors of a node: one of each core, then the second ones, and so on."""
    seen: dict[int, int] = {}
    ranked = []
    for processor in found:
        ranked.append((seen.get(processor.core, 0), processor.number))
        seen[processor.core] = seen.get(processor.core, 0) + 1
    return [number for _, number in sorted(ranked)]


def resolve_cores(cores: Placement | Sequence[int] | None) -> tuple[int, ...]:
    """Returns the processors that threads are bound to, none for no binding.

    Args:
        cores: Their numbers, or how to choose them.

    Raises:
        UsageError: The process may not use one of them, or there is no such placement.
    """
    if cores is None:
        return ()
    if isinstance(cores, str):
        if cores not in ("compact", "spread"):
            raise UsageError(f"cores is a list of processors, compact or spread, not {cores!r}")
        return tuple(ordered(cores, processors()))
    usable = os.sched_getaffinity(0)
    for core in cores:
        if core not in usable:
            raise UsageError(
                f"this process may not use processor {core}; it may use "
                f"{', '.join(map(str, sorted(usable)))}"
            )
    return tuple(cores)
