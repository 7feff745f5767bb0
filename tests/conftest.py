"""Models and artifacts that several tests share."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import settings
from onnx import TensorProto, helper, numpy_helper

from ingot.compiler.build import Artifact, compile_model
from ingot.files import CACHE_VARIABLE
from tests.browser import browser, chromium
from tests.command_line import ingot
from tests.examples import EXPLORING, PROFILE
from tests.slowness import slowed

__all__ = ["browser", "chromium", "ingot", "slowed"]

# How long an example takes is the machine's affair. Whether a commit is right must not depend on
# what is drawn today: only `make test-all` looks for new examples.
settings.register_profile("ingot", deadline=None, derandomize=True)
settings.register_profile(EXPLORING, deadline=None)
settings.load_profile(PROFILE)

_users_cache = os.environ.get(CACHE_VARIABLE)
# Workers of one run share a cache, whose entries are found by content: the process that starts them
# makes it, they get the variable from it, and it removes the cache at its end.
_SHARED_VARIABLE = "INGOT_TESTS_CACHE"
if _SHARED_VARIABLE not in os.environ:
    _made = tempfile.TemporaryDirectory(prefix="ingot-tests-")
    os.environ[_SHARED_VARIABLE] = _made.name
_tests_cache = Path(os.environ[_SHARED_VARIABLE])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Keeps what earlier runs computed out of the tests; only downloads are read from the user's.

    A hook and not a fixture: it has to come before the fixtures of modules and sessions.
    """
    downloads = item.get_closest_marker("network") is not None
    cache = _users_cache if downloads else str(_tests_cache)
    if cache is None:
        os.environ.pop(CACHE_VARIABLE, None)
    else:
        os.environ[CACHE_VARIABLE] = cache


def shared_data() -> Path | None:
    """Returns the folder of labelled data that tests may use, where there is one."""
    given = os.environ.get("INGOT_SHARED_DATA")
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(given) if given else beside
    return folder if folder.is_dir() else None


def small_network(batch: int | str = "N") -> onnx.ModelProto:
    """A network of each common kind of layer: ``image`` [N, 3, 16, 16] to ``logits`` [N, 10]."""
    generator = np.random.default_rng(0)
    weights = {
        "conv1.weight": generator.normal(size=(8, 3, 3, 3)) * 0.2,
        "bn1.scale": generator.uniform(0.5, 1.5, 8),
        "bn1.bias": generator.normal(size=8),
        "bn1.mean": generator.normal(size=8),
        "bn1.var": generator.uniform(0.5, 1.5, 8),
        "conv2.weight": generator.normal(size=(16, 8, 3, 3)) * 0.1,
        "conv2.bias": generator.normal(size=16),
        "fc.weight": generator.normal(size=(10, 16)),
        "fc.bias": generator.normal(size=10),
    }
    normalization = ["c1", "bn1.scale", "bn1.bias", "bn1.mean", "bn1.var"]
    nodes = [
        helper.make_node("Conv", ["image", "conv1.weight"], ["c1"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", normalization, ["b1"], "bn1"),
        helper.make_node("Relu", ["b1"], ["r1"], "relu1"),
        helper.make_node(
            "Conv", ["r1", "conv2.weight", "conv2.bias"], ["c2"], "conv2", strides=[2, 2]
        ),
        helper.make_node("Relu", ["c2"], ["r2"], "relu2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["features"], "flatten"),
        helper.make_node("Gemm", ["features", "fc.weight", "fc.bias"], ["logits"], "fc", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 10])],
        [numpy_helper.from_array(a.astype(np.float32), name) for name, a in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small network as a file."""
    path = tmp_path_factory.mktemp("small") / "small.onnx"
    onnx.save(small_network(), path)
    return path


@pytest.fixture(scope="session")
def small_artifact(small_model: Path) -> Artifact:
    """The small network compiled for this machine; not to be changed."""
    return compile_model(small_model, small_model.with_suffix(".ingot"))


@pytest.fixture
def image() -> np.ndarray:
    """A batch of two inputs of the small network."""
    return np.random.default_rng(1).normal(size=(2, 3, 16, 16)).astype(np.float32)
