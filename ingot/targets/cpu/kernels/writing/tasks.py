"""Sharing tasks among the thread pool's threads, where there is enough to do for them."""

from __future__ import annotations

from collections.abc import Callable

from tvm import tirx

from ingot.targets.cpu.kernels.writing.emission import Emitter, index
from ingot.targets.cpu.machine import CpuDescription


def share_tasks(
    emitter: Emitter,
    tasks: int | tirx.Expr,
    operations: int | tirx.Expr,
    emit_task: Callable[[tirx.Expr], None],
    cpu: CpuDescription,
) -> None:
    """Emits a loop over tasks: parallel, or serial where waking threads costs more than it saves.

    Where the work is known only when the code runs, both loops are emitted, and one is chosen then.

    Args:
        emitter: What to emit to.
        tasks: Number of tasks.
        operations: Operations of all tasks together, or what takes as long as they do.
        emit_task: Emits a task, given its number; called once or twice.
        cpu: The processor, which says what waking threads costs.
    """
    worth_a_launch = cpu.launch_operations
    if isinstance(tasks, int) and isinstance(operations, int):
        parallel = operations >= worth_a_launch and tasks > 1
        with (emitter.parallel if parallel else emitter.loop)(tasks, "task") as task:
            emit_task(task)
        return
    for parallel, condition in (
        (False, index(operations) < worth_a_launch),
        (True, index(operations) >= worth_a_launch),
    ):
        loop = emitter.parallel if parallel else emitter.loop
        with emitter.when(condition), loop(tasks, "task") as task:
            emit_task(task)
