"""Contexts: memory that is planned, bounded and given back; buffers that are bound once."""

from __future__ import annotations

import concurrent.futures
import ctypes
import gc
import os
import subprocess
import sys
import threading

import numpy as np
import onnx
import pytest

from ingot.compiler.build import Artifact, compile_model
from ingot.errors import InputError, MemoryLimitError, UsageError
from ingot.runtime.alignment import aligned_empty
from ingot.runtime.session import Session

# Between the kernels lie two tensors of N rows of 256 floats, and the larger one of 1024.
ROWS = """<ir_version: 10, opset_import: ["": 20]>
rows (float[N, 256] x) => (float[N, 256] y)
<float[256, 1024] w = {0.5}, float[1024, 256] v = {0.25}> {
  a = MatMul(x, w) b = Softmax(a) c = MatMul(b, v) y = Softmax(c)
}"""


def rows_model() -> onnx.ModelProto:
    model = onnx.parser.parse_model(ROWS.replace("= {0.5}", "").replace("= {0.25}", ""))
    generator = np.random.default_rng(0)
    weights = {"w": (256, 1024), "v": (1024, 256)}
    del model.graph.initializer[:]
    for name, shape in weights.items():
        array = generator.normal(size=shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    return model


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return compile_model(rows_model(), tmp_path_factory.mktemp("rows") / "rows.ingot")


def feed(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 256)).astype(np.float32)


def test_a_limit_of_memory_is_held_before_anything_runs(rows: Artifact) -> None:
    with Session(rows.path, threads=1, memory_limit=1 << 20) as session:
        small = session.run(feed(4))["y"]
        with pytest.raises(MemoryLimitError, match=r"need \d+ bytes .* memory_limit is 1048576"):
            session.run(feed(4000))
        np.testing.assert_array_equal(session.run(feed(4))["y"], small)
        assert session.arena_bytes <= 1 << 20


def test_a_limit_is_enough_where_it_is_the_need(rows: Artifact) -> None:
    with Session(rows.path, threads=1) as session:
        session.run(feed(64))
        need = session.arena_bytes
    with Session(rows.path, threads=1, memory_limit=need) as session:
        assert session.run(feed(64))["y"].shape == (64, 256)
    assert need >= 64 * 1024 * 4


@pytest.mark.parametrize("options", [{"memory_limit": -1}, {"spin_microseconds": -1}])
def test_impossible_options_are_refused(rows: Artifact, options: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="must not be negative, as -1 is"):
        Session(rows.path, **options)  # type: ignore[arg-type]


def in_fresh_process(code: str, artifact: Artifact) -> list[int]:
    """Runs a program on an artifact where memory that is freed goes back to the system."""
    done = subprocess.run(
        [sys.executable, "-c", RESIDENT + code, str(artifact.path)],
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"},
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(number) for number in done.stdout.split()]


RESIDENT = """
import gc, os, sys
import numpy as np
from ingot.runtime import Session

def resident():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE")

session = Session(sys.argv[1], threads=1)
session.run(np.zeros((1, 256), np.float32))
before = resident()
"""
CHANGING = """
session.run(np.zeros((400, 256), np.float32))
largest, after_largest = session.arena_bytes, resident()
for count in range(1, 400):
    session.run(np.zeros((count, 256), np.float32))
print(session.arena_bytes - largest, resident() - after_largest)
"""


def test_sizes_that_change_keep_no_memory_of_each(rows: Artifact) -> None:
    """TVM's pool kept a block of each size that it had seen, also after the session's end."""
    arena, memory = in_fresh_process(CHANGING, rows)
    assert arena <= 0
    assert memory < 4 << 20


def test_memory_that_is_long_not_needed_is_given_back(rows: Artifact) -> None:
    with Session(rows.path, threads=1) as session:
        session.run(feed(4000))
        assert session.arena_bytes > 16 << 20
        for _ in range(65):
            session.run(feed(1))
        assert session.arena_bytes < 1 << 20


CLOSING = """
session.run(np.zeros((20000, 256), np.float32))
largest = resident()
session.close()
print(largest - before, resident() - before)
"""


def test_closing_gives_everything_back(rows: Artifact) -> None:
    taken, left = in_fresh_process(CLOSING, rows)
    assert taken > 64 << 20
    assert left < 4 << 20


def test_a_bound_run_computes_what_run_does(rows: Artifact) -> None:
    with Session(rows.path, threads=2) as session:
        expected = [session.run(feed(8, seed))["y"] for seed in range(3)]
        bound = session.bind(sizes={"N": 8})
        output = bound.outputs["y"]
        for seed in range(3):
            bound.inputs["x"][...] = feed(8, seed)
            bound.run()
            np.testing.assert_array_equal(output, expected[seed])


def test_buffers_of_the_caller_are_used_where_they_lie(rows: Artifact) -> None:
    x, y = (aligned_empty((8, 256), np.dtype(np.float32)) for _ in range(2))
    x[...] = feed(8)
    with Session(rows.path, threads=1) as session:
        bound = session.bind({"x": x}, outputs={"y": y})
        assert bound.inputs["x"] is x or np.shares_memory(bound.inputs["x"], x)
        bound.run()
        np.testing.assert_array_equal(y, session.run(x)["y"])
        # The buffers speak DLPack, as other libraries exchange memory.
        assert np.shares_memory(np.from_dlpack(bound.outputs["y"]), y)


def test_buffers_that_cannot_be_bound_are_refused(rows: Artifact) -> None:
    whole = aligned_empty((8, 512), np.dtype(np.float32))
    unaligned = np.frombuffer(bytearray(8 * 256 * 4 + 4), np.uint8)[4:].view(np.float32)
    with Session(rows.path, threads=1) as session:
        for arrays, said in [
            ({"x": whole[:, ::2]}, "must be C-contiguous"),
            ({"x": unaligned.reshape(8, 256)}, "must begin at a multiple of 16 bytes"),
            ({"z": whole}, "no input is called z"),
            ({"x": whole}, "was given shape"),
            ({}, "the size of N in x: float32.N, 256. is not known"),
        ]:
            with pytest.raises(InputError, match=said):
                session.bind(arrays)


def test_a_bound_run_allocates_nothing(rows: Artifact) -> None:
    """No memory is taken from the C library, which counts what it has given."""
    library = ctypes.CDLL(None)

    class Mallinfo(ctypes.Structure):
        _fields_ = [
            (name, ctypes.c_size_t)
            for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks",
                         "uordblks", "fordblks", "keepcost")
        ]  # fmt: skip

    library.mallinfo2.restype = Mallinfo
    with Session(rows.path, threads=2) as session:
        bound = session.bind(sizes={"N": 8})
        gc.disable()
        try:
            for _ in range(1000):  # Python, too, settles
                bound.run()
            before, mapped = library.mallinfo2(), bound.arena_bytes
            for _ in range(1000):
                bound.run()
            after = library.mallinfo2()
        finally:
            gc.enable()
        assert (after.uordblks, after.hblkhd) == (before.uordblks, before.hblkhd)
        assert bound.arena_bytes == mapped


def test_a_bound_run_has_the_limit_of_its_session(rows: Artifact) -> None:
    with (
        Session(rows.path, threads=1, memory_limit=1 << 16) as session,
        pytest.raises(MemoryLimitError, match="memory_limit is 65536"),
    ):
        session.bind(sizes={"N": 4000})


def test_callers_at_once_have_memory_of_their_own(rows: Artifact) -> None:
    """Each caller gets a context, and contexts are used again."""
    with Session(rows.path, threads=1) as session:
        expected = [session.run(feed(50, seed))["y"] for seed in range(4)]
        alone = session.arena_bytes
        barrier = threading.Barrier(4)

        def run(seed: int) -> list[np.ndarray]:
            barrier.wait()
            return [session.run(feed(50, seed))["y"] for _ in range(10)]

        with concurrent.futures.ThreadPoolExecutor(4) as executor:
            for seed, results in enumerate(executor.map(run, range(4))):
                for result in results:
                    np.testing.assert_array_equal(result, expected[seed])
        assert alone <= session.arena_bytes <= 4 * alone


def test_an_output_buffer_may_be_an_input(rows: Artifact) -> None:
    x = feed(8)
    with Session(rows.path, threads=1) as session:
        expected = session.run(x)["y"]
        shared = aligned_empty(x.shape, x.dtype)
        shared[...] = x
        session.run(shared, outputs={"y": shared})
        np.testing.assert_array_equal(shared, expected)


def test_huge_pages_change_no_result(rows: Artifact) -> None:
    with Session(rows.path, threads=1) as session:
        expected = session.run(feed(64))["y"]
    with Session(rows.path, threads=1, huge_pages=True) as session:
        np.testing.assert_array_equal(session.run(feed(64))["y"], expected)
        assert session.arena_bytes % (2 << 20) == 0
