"""Compiled code against ONNX Runtime at several sizes of each symbolic dimension."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import onnx
import pytest
from onnx import parser

from ingot.errors import InputError, ModelError
from ingot.reference.session import Reference
from tests.targets.cpu.conftest import Compile

Feeds = Mapping[str, np.ndarray]
_FLOATS = {"float": np.float32, "double": np.float64}


def parse(text: str, opset: int = 23) -> onnx.ModelProto:
    """Reads a model in ONNX's text form."""
    return parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}]>\n{text}')


def random_feeds(model: onnx.ModelProto, sizes: Mapping[str, int], seed: int = 0) -> Feeds:
    """Returns random inputs at given sizes: normal floats, small integers."""
    generator = np.random.default_rng(seed)
    feeds = {}
    for value in model.graph.input:
        kind = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        shape = [
            sizes[dim.dim_param] if dim.HasField("dim_param") else dim.dim_value
            for dim in kind.shape.dim
        ]
        drawn = generator.normal(size=shape) * (1 if dtype.kind == "f" else 3)
        feeds[value.name] = (drawn > 0 if dtype.kind == "b" else drawn).astype(dtype)
    return feeds


def assert_same(
    model: onnx.ModelProto, compiled: Callable[..., list[np.ndarray]], feeds: Feeds
) -> None:
    """Asserts that code gives what ONNX Runtime gives, or refuses what it refuses."""
    names = [value.name for value in model.graph.output]
    shown = {name: array.shape for name, array in feeds.items()}
    try:
        expected = Reference(model).run(dict(feeds))
    except ModelError:
        with pytest.raises(InputError):
            compiled(*feeds.values())
        return
    for name, actual in zip(names, compiled(*feeds.values()), strict=True):
        wanted = np.asarray(expected[name])
        assert actual.dtype == wanted.dtype, (name, shown)
        assert actual.shape == wanted.shape, (name, shown)
        np.testing.assert_allclose(actual, wanted, 1e-5, 1e-5, err_msg=f"{name} at {shown}")


def assert_same_at(
    compile_for_cpu: Compile, text: str, sizes: Iterable[Mapping[str, int]], opset: int = 23
) -> None:
    """Compiles a model once, and asserts that it is right at each of the sizes."""
    model = parse(text, opset)
    compiled = compile_for_cpu(model)
    for each in sizes:
        assert_same(model, compiled, random_feeds(model, each))


def every(*names: str, of: Sequence[int] = (1, 2, 3, 5, 16)) -> list[dict[str, int]]:
    """Returns sizes in which each name takes each value at least once, not all alike."""
    return [
        {name: of[(at + shift) % len(of)] for shift, name in enumerate(names)}
        for at in range(len(of))
    ]
