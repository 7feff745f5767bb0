"""``cpu:threads=N`` reaches the code: for one thread no loop is shared, for more tasks are cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ingot.compiler.build import compile_model
from ingot.runtime.artifact import ArtifactReader
from ingot.runtime.manifest import CODE_MEMBER
from ingot.targets.cpu.kernels.tiling.blocking import choose_blocking
from ingot.targets.cpu.machine import describe_cpu

LAUNCH = b"__TVMBackendParallelLaunch"


def convolution() -> onnx.ModelProto:
    """A layer that is worth sharing."""
    weights = np.random.default_rng(0).normal(size=(64, 64, 3, 3)).astype(np.float32)
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64, 28, 28]) for name in "xy"
    ]
    node = helper.make_node("Conv", ["x", "w"], ["y"], "conv", pads=[1, 1, 1, 1])
    initializer = numpy_helper.from_array(weights, "w")
    graph = helper.make_graph([node], "one", infos[:1], infos[1:], [initializer])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_code_for_one_thread_shares_no_loop(tmp_path: Path) -> None:
    x = np.random.default_rng(1).normal(size=(1, 64, 28, 28)).astype(np.float32)
    outputs = []
    for threads, shares in [("", True), (",threads=1", False), (",threads=3", True)]:
        target = f"cpu:mcpu=native{threads}"
        artifact = compile_model(convolution(), tmp_path / "c.ingot", target=target)
        assert (LAUNCH in bytes(ArtifactReader(artifact.path).member(CODE_MEMBER))) == shares
        assert artifact.manifest.target.spec.startswith(
            f"cpu:mcpu={describe_cpu('native', None).mcpu}{threads},"
        )
        with artifact.session(threads=3) as session:
            outputs.append(session.run(x)["y"])
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])


@pytest.mark.parametrize("threads", [2, 3, 5, 7])
def test_tasks_are_cut_for_the_threads_that_are_stated(threads: int) -> None:
    cpu = describe_cpu("native", threads)
    blocking = choose_blocking(
        row_units=210,
        row_bytes=4096.0,
        panels=16,
        panel_bytes=65536.0,
        operations=1e9,
        cpu=cpu,
    )
    assert blocking.tasks % threads == 0


@pytest.mark.parametrize(
    ("cores", "counts"),
    [(1, (1, 2)), (2, (1, 2)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8)), (None, (1, 2, 4, 8))],
)
def test_none_of_any_number_of_threads_waits_for_one(
    cores: int | None, counts: tuple[int, ...]
) -> None:
    assert describe_cpu("generic", None, cores=cores).thread_counts == counts
