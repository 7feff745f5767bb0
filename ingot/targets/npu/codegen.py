"""From a region of composites to what the artifact holds of it."""

from __future__ import annotations

from collections.abc import Sequence

from ingot.runtime.npu.region import Configuration, Region, RegionTensor
from ingot.targets.npu.byoc import RegionFunction
from ingot.targets.npu.composites import Composite
from ingot.targets.npu.configuration import PRODUCTS, compiler_versions
from ingot.targets.npu.tosa import TosaGraph, TosaTensor
from ingot.targets.npu.vela import Placed, compile_graph


def make_region(
    name: str,
    function: RegionFunction,
    composites: Sequence[Composite],
    configuration: Configuration,
    sram: int | None,
) -> Region:
    """Compiles a region.

    Args:
        name: The region's name.
        function: What the host code calls.
        composites: The composites that it may consist of, by index.
        configuration: The NPU.
        sram: Bytes of fast memory to stay below; None for what the memory mode says.

    Raises:
        NotForNpu: The NPU cannot compute it.
        IngotError: It does not fit the NPU's memory.
    """
    product = PRODUCTS[configuration.product]
    graph = TosaGraph(ends_in_elementwise=product.ends_in_elementwise)
    tensors: dict[str, TosaTensor] = {
        key: graph.input(key, shape, dtype) for key, shape, dtype in function.inputs
    }
    for index, operands, result in function.calls:
        graph.begin_layer(composites[index].name)
        tensors[result] = composites[index].layer.emit(graph, [tensors[key] for key in operands])
    for key in function.outputs:
        graph.output(tensors[key])
    flatbuffer = graph.serialize()
    compiled = compile_graph(flatbuffer, configuration, sram)
    nodes = [
        str(node.name) for index, _, _ in function.calls for node in composites[index].cone.nodes
    ]
    return Region(
        name=name,
        configuration=configuration,
        inputs=_tensors(graph.inputs, compiled.inputs),
        outputs=_tensors(graph.outputs, compiled.outputs),
        scratch=compiled.scratch,
        fast_scratch=compiled.fast_scratch,
        weights_base=compiled.weights_base,
        graph=flatbuffer,
        command_stream=compiled.command_stream,
        weights=compiled.weights,
        versions=compiler_versions(),
        nodes=tuple(dict.fromkeys(nodes)),
        estimate=compiled.estimate,
    )


def _tensors(tensors: Sequence[TosaTensor], placed: Sequence[Placed]) -> tuple[RegionTensor, ...]:
    return tuple(
        RegionTensor(tensor.name, tensor.dtype, tensor.shape, where.base, where.address)
        for tensor, where in zip(tensors, placed, strict=True)
    )
