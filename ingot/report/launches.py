"""What sharing a loop costs: until the runtime's threads have come, and until the last has gone.

A loop of ``w`` seconds takes ``w / n`` on ``n`` threads and what sharing costs. That is what is
measured, at loops that are long enough for all threads to come: the caller alone does what others
are late for.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from ingot.compiler.build import compile_model
from ingot.files import temporary_folder

# Loops of an inference; enough that what else it takes does not count.
_LOOPS = 32
# Of each, which is some 20 microseconds long on one thread.
_SHAPE = (512, 8)
_RUNS = 200
# Of the time on one thread; on two threads sharing saves half less what it costs.
_NOTHING_SAVED = 0.9
_WARM_UP = 20
# Where a launch costs next to nothing every loop is shared, for one thread none.
_TARGETS = ("cpu:launch_cycles=0.01", "cpu:threads=1")


def launch_seconds(threads: int) -> float | None:
    """Returns what a parallel loop costs beside its work, in seconds; takes a few seconds.

    None where sharing saves next to nothing: then other work keeps the threads from coming, and
    what it costs on an idle machine cannot be told.

    Two programs of the same loops run in turn: in one they are shared.

    Args:
        threads: Threads of a loop, the caller included; two at least.
    """
    x = np.random.default_rng(0).normal(size=_SHAPE).astype(np.float32)
    with temporary_folder("ingot-probe-") as folder:
        sessions = [
            compile_model(
                _softmaxes(),
                Path(folder) / f"{number}.ingot",
                recipe={"verify": {"enabled": False}},
                target=target,
            ).session(threads=threads)
            for number, target in enumerate(_TARGETS)
        ]
        taken: list[list[float]] = [[] for _ in sessions]
        for _ in range(_WARM_UP + _RUNS):
            for session, times in zip(sessions, taken, strict=True):
                begin = time.perf_counter()
                session.run(x)
                times.append(time.perf_counter() - begin)
        for session in sessions:
            session.close()
    shared, alone = (statistics.median(times[_WARM_UP:]) for times in taken)
    return cost_of_a_launch(shared, alone, threads)


def cost_of_a_launch(shared: float, alone: float, threads: int) -> float | None:
    """Returns what a loop costs beside its work, in seconds, or None: no other thread came.

    Args:
        shared: Seconds of an inference whose loops are shared.
        alone: Seconds of one whose loops are not.
        threads: Threads that share them.
    """
    if shared > _NOTHING_SAVED * alone:
        return None
    return max(0.0, shared - alone / threads) / _LOOPS


def _softmaxes() -> onnx.ModelProto:
    """Loops that wait for one another and that no fusion joins."""
    nodes = [
        helper.make_node("Softmax", [f"t{at}"], [f"t{at + 1}"], axis=-1) for at in range(_LOOPS)
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, _SHAPE)
        for name in ("t0", f"t{_LOOPS}")
    ]
    graph = helper.make_graph(nodes, "launches", ends[:1], ends[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
