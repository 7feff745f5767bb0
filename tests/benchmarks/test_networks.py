"""GPT-2, LLaMA and T5 style networks compile with open lengths, fused, and agree at any of them."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx_ir.passes.common import ShapeInferencePass

from benchmarks.networks.gpt2 import Gpt2, gpt2
from benchmarks.networks.llama import Llama, llama
from benchmarks.networks.t5 import T5, t5_decoder, t5_encoder
from ingot.reference.session import Reference
from ingot.targets.cpu.lowering import lower_module
from ingot.targets.cpu.machine import describe_cpu
from ingot.targets.relax.importer import import_graph
from tests.targets.cpu.conftest import Compiled, virtual_machine_code

VOCABULARY, SOURCE = 50, 7
GPT2 = Gpt2(layers=2, hidden=32, heads=4, vocabulary=VOCABULARY, positions=64, style="exported")
LLAMA = Llama(
    layers=2, hidden=32, inner=48, heads=4, key_heads=2, vocabulary=VOCABULARY, positions=64
)
SMALL_T5 = T5(layers=2, hidden=32, inner=48, heads=4, size=8, vocabulary=VOCABULARY)

NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {
    "gpt2": lambda: gpt2(GPT2),
    "llama, traced": lambda: llama(LLAMA),
    "llama, exported": lambda: llama(Llama(**{**vars(LLAMA), "style": "exported"})),
    "t5 encoder": lambda: t5_encoder(SMALL_T5),
    "t5 decoder": lambda: t5_decoder(SMALL_T5, cached=False),
    "t5 decoder, cached": lambda: t5_decoder(SMALL_T5, cached=True),
}
ATTENTIONS = {"t5 decoder": 4, "t5 decoder, cached": 4}  # with the encoder's text too; else two
SIZES = [(2, 6, 5), (1, 1, 0), (1, 1, 9), (3, 17, 0), (2, 33, 8)]


@functools.cache
def compiled(network: str) -> Compiled:
    graph = ir.from_proto(NETWORKS[network]())
    ShapeInferencePass()(graph)
    cpu = describe_cpu("native", threads=2)
    lowered = lower_module(import_graph(graph), cpu)
    return Compiled(lowered, virtual_machine_code(lowered, cpu), cpu)


def inputs_of(network: str, batch: int, length: int, past: int) -> dict[str, np.ndarray]:
    """Tokens, a cache, and a mask that leaves out the first tokens of all texts but the first."""
    sizes = {"batch": batch, "length": length, "past": past, "source": SOURCE}
    sizes["past + length"] = past + length
    generator = np.random.default_rng(0)
    inputs = {}
    for value in NETWORKS[network]().graph.input:
        dims = value.type.tensor_type.shape.dim
        shape = [sizes[dim.dim_param] if dim.dim_param else dim.dim_value for dim in dims]
        if value.name == "input_ids":
            array = generator.integers(0, VOCABULARY, shape)
        elif value.name == "position_ids":
            array = np.arange(past, past + length)[None].repeat(batch, 0)
        elif "mask" in value.name:
            array = np.ones(shape, np.int64)
            array[1:, : min(2, shape[1] - 1)] = 0
        else:
            array = generator.normal(size=shape).astype(np.float32)
        inputs[value.name] = array
    return inputs


def run(network: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = [value.name for value in NETWORKS[network]().graph.output]
    return dict(zip(names, compiled(network)(*inputs.values()), strict=True))


@pytest.mark.parametrize("network", NETWORKS)
def test_each_attention_is_one_kernel(network: str) -> None:
    kernels = compiled(network).lowered.kernels
    calls = sum(cost.calls for name, cost in kernels.items() if name.startswith("attention"))
    assert calls == ATTENTIONS.get(network, 2)
    assert not [name for name in kernels if "softmax" in name]
    assert compiled(network).lowered.unscheduled == []


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("network", NETWORKS)
def test_agrees_at_any_size(network: str, sizes: tuple[int, int, int]) -> None:
    inputs = inputs_of(network, *sizes)
    expected = Reference(NETWORKS[network]()).run(inputs)
    for name, actual in run(network, inputs).items():
        assert actual.shape == expected[name].shape
        scale = np.abs(expected[name]).max(initial=1e-3)
        np.testing.assert_allclose(actual, expected[name], atol=2e-5 * scale, err_msg=name)


@pytest.mark.parametrize("network", ["gpt2", "llama, traced", "llama, exported"])
def test_token_by_token_is_the_same_as_all_at_once(network: str) -> None:
    whole = inputs_of(network, 1, 9, 0)
    expected = run(network, whole)["logits"]
    step = inputs_of(network, 1, 6, 0)
    for begin, end in ((0, 6), (6, 7), (7, 8), (8, 9)):
        for name in ("input_ids", "position_ids"):
            if name in whole:
                step[name] = whole[name][:, begin:end]
        step["attention_mask"] = whole["attention_mask"][:, :end]
        found = run(network, step)
        np.testing.assert_allclose(found["logits"], expected[:, begin:end], atol=2e-5)
        step |= {
            name.replace("present", "past"): value
            for name, value in found.items()
            if name.startswith("present")
        }
