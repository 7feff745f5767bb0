"""What the NPU can run is asked of Vela: it compiles a layer by itself, or says why not.

A whole region is tried first; only where Vela refuses that is each layer asked for. Answers are
kept in the user's cache under the digest of the layer's graph, the NPU and Vela's version.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence

from ingot.cached import DamagedCacheError, read_entry, write_entry
from ingot.errors import IngotError, first_line
from ingot.files import cache_dir
from ingot.runtime.npu.region import Configuration
from ingot.targets.npu.composites import Composite
from ingot.targets.npu.cone import static_shape
from ingot.targets.npu.configuration import compiler_versions
from ingot.targets.npu.rules.base import to_nhwc
from ingot.targets.npu.tosa import TosaGraph
from ingot.targets.npu.vela import NotForNpu, compile_graph


def refusals(composites: Sequence[Composite], configuration: Configuration) -> dict[int, str]:
    """Returns why Vela refuses composites, by their index; nothing for those that it takes."""
    answers = {
        index: _refusal(composite, configuration) for index, composite in enumerate(composites)
    }
    return {index: answer for index, answer in answers.items() if answer is not None}


def _refusal(composite: Composite, configuration: Configuration) -> str | None:
    graph = layer_graph(composite)
    key = hashlib.sha256(graph)
    key.update(json.dumps([str(configuration), compiler_versions()], sort_keys=True).encode())
    path = cache_dir() / "npu" / f"{key.hexdigest()}.answer"
    # An answer that is damaged, or cannot be kept, is asked for again: that takes milliseconds.
    with contextlib.suppress(DamagedCacheError):
        if (stored := read_entry(path)) is not None:
            known: str | None = json.loads(stored)
            return known
    answer = None
    try:
        compile_graph(graph, configuration)
    except NotForNpu as error:
        answer = first_line(error)
    with contextlib.suppress(IngotError):
        write_entry(path, json.dumps(answer).encode())
    return answer


def layer_graph(composite: Composite) -> bytes:
    """Returns the TOSA graph of a composite by itself."""
    graph = TosaGraph()
    inputs = [
        graph.input(f"x{position}", to_nhwc(static_shape(source.integers)), source.grid.dtype)
        for position, source in enumerate(composite.layer.sources)
    ]
    graph.output(composite.layer.emit(graph, inputs))
    return graph.serialize()
