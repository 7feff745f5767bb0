"""Threads share loops, sessions run side by side, and all of it survives forks."""

from __future__ import annotations

import concurrent.futures
import gc
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from ingot.compiler.build import Artifact
from ingot.errors import UsageError
from ingot.runtime.cpu_quota import usable_cpus
from ingot.runtime.session import Session
from ingot.runtime.threads import Pool, resolve_threads, shared_pool


def thread_count() -> int:
    return len(os.listdir("/proc/self/task"))


def assert_threads(count: int) -> None:
    """A thread that has been joined is listed for some time yet."""
    end = time.monotonic() + 10
    while thread_count() != count and time.monotonic() < end:
        time.sleep(0.01)
    assert thread_count() == count


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_none_means_every_cpu_that_the_process_may_keep_busy() -> None:
    assert resolve_threads(None) == usable_cpus()


@pytest.mark.parametrize("threads", [0, -1, 1025])
def test_impossible_numbers_are_refused(threads: int) -> None:
    with pytest.raises(UsageError, match=f"threads must be from 1 to 1024, not {threads}"):
        resolve_threads(threads)


@pytest.mark.parametrize("threads", [1, 2, 3, 5, 8])
def test_any_number_of_threads_gives_the_same_bits(
    small_artifact: Artifact, image: np.ndarray, threads: int
) -> None:
    with Session(small_artifact.path, threads=1) as session:
        expected = session.run(image)["logits"]
    with Session(small_artifact.path, threads=threads) as session:
        for _ in range(20):
            np.testing.assert_array_equal(session.run(image)["logits"], expected)


def test_sessions_share_threads_which_end_with_the_last_of_them(small_artifact: Artifact) -> None:
    gc.collect()
    before = thread_count()
    sessions = [Session(small_artifact.path, threads=count) for count in (3, 2, 3)]
    assert_threads(before + 2)
    for session in sessions:
        session.close()
    del sessions, session
    gc.collect()
    assert_threads(before)


def test_a_pool_grows_and_does_not_shrink() -> None:
    before = thread_count()
    pool = Pool()
    for threads, workers in [(1, 0), (3, 2), (2, 2), (5, 4)]:
        pool.grow(threads)
        assert_threads(before + workers)
    del pool
    gc.collect()
    assert_threads(before)


def test_pools_are_shared_by_what_they_are_bound_to() -> None:
    core = min(os.sched_getaffinity(0))
    assert shared_pool() is shared_pool()
    assert shared_pool((core,)) is not shared_pool()


def test_calling_threads_start_no_workers_of_their_own(
    small_artifact: Artifact, image: np.ndarray
) -> None:
    with Session(small_artifact.path, threads=2) as session:
        session.run(image)
        before = thread_count()
        for _ in range(50):
            thread = threading.Thread(target=session.run, args=(image,))
            thread.start()
            thread.join()
        assert_threads(before)


def test_many_callers_get_their_own_results(small_artifact: Artifact) -> None:
    generator = np.random.default_rng(0)
    images = [generator.normal(size=(2, 3, 16, 16)).astype(np.float32) for _ in range(8)]
    with Session(small_artifact.path, threads=2) as session:
        expected = [session.run(image)["logits"] for image in images]
        with concurrent.futures.ThreadPoolExecutor(8) as executor:
            for _ in range(5):
                found = list(executor.map(lambda image: session.run(image)["logits"], images))
                for actual, right in zip(found, expected, strict=True):
                    np.testing.assert_array_equal(actual, right)


FORKING = """
import os, sys
import numpy as np
from ingot.runtime import Session

image = np.ones((2, 3, 16, 16), np.float32)
session = Session(sys.argv[1], threads=2)
expected = session.run(image)["logits"]
for _ in range(3):
    child = os.fork()
    if child == 0:
        same = np.array_equal(session.run(image)["logits"], expected)
        workers = len(os.listdir("/proc/self/task")) - 1
        os._exit(0 if same and workers == 1 else 1)
    assert os.waitpid(child, 0)[1] == 0
assert np.array_equal(session.run(image)["logits"], expected)
print("done")
"""


def test_children_forked_after_a_run_run_too(small_artifact: Artifact) -> None:
    done = run_python(FORKING, str(small_artifact.path))
    assert (done.stdout.strip(), done.stderr) == ("done", "")


FORKING_WHILE_OTHERS_RUN = """
import os, sys, threading
import numpy as np
from ingot.runtime import Session

image = np.ones((2, 3, 16, 16), np.float32)
session = Session(sys.argv[1], threads=2)
expected = session.run(image)["logits"]
ended = threading.Event()

def keep_running():
    while not ended.is_set():
        session.run(image)

threads = [threading.Thread(target=keep_running) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        same = np.array_equal(session.run(image)["logits"], expected)
        session.close()
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
ended.set()
for thread in threads:
    thread.join()
print("done")
"""


def test_children_forked_while_others_run_run_too(small_artifact: Artifact) -> None:
    done = run_python(FORKING_WHILE_OTHERS_RUN, str(small_artifact.path))
    assert (done.stdout.strip(), done.stderr) == ("done", "")


UNCHANGED = """
import os, sys
import numpy as np
environment, affinity = dict(os.environ), os.sched_getaffinity(0)
from ingot.runtime import Session
for cores in (None, [min(affinity)]):
    session = Session(sys.argv[1], threads=2, cores=cores)
    session.run(np.ones((2, 3, 16, 16), np.float32))
    assert os.sched_getaffinity(0) == affinity, os.sched_getaffinity(0)
    bound = [os.sched_getaffinity(int(task)) for task in os.listdir("/proc/self/task")]
    assert (({min(affinity)} in bound) or len(affinity) == 1) == (cores is not None), bound
assert dict(os.environ) == environment
print("done")
"""


def test_environment_and_affinity_of_the_caller_stay(small_artifact: Artifact) -> None:
    done = run_python(UNCHANGED, str(small_artifact.path))
    assert (done.stdout.strip(), done.stderr) == ("done", "")


def test_a_processor_that_may_not_be_used_is_refused(small_artifact: Artifact) -> None:
    with pytest.raises(UsageError, match="may not use processor 99999; it may use 0"):
        Session(small_artifact.path, cores=[99999])
    with pytest.raises(UsageError, match="compact or spread, not 'wide'"):
        Session(small_artifact.path, cores="wide")  # type: ignore[arg-type]


def test_closing_waits_for_runs_and_refuses_further_ones(
    small_artifact: Artifact, image: np.ndarray
) -> None:
    session = Session(small_artifact.path, threads=2)
    outcomes: list[str] = []

    def run_until_closed() -> None:
        try:
            while True:
                session.run(image)
        except ValueError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=run_until_closed) for _ in range(4)]
    for thread in threads:
        thread.start()
    session.close()
    for thread in threads:
        thread.join()
    assert outcomes == ["the session is closed: open the artifact again"] * 4


# Loads and runs an artifact with room for some more megabytes of addresses than it has.
LIMITED = """
import resource, sys
import numpy as np
from ingot.errors import IngotError
from ingot.runtime import Session

used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = used + (int(sys.argv[2]) << 10)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    session = Session(sys.argv[1], threads=6)
    session.run(np.zeros((2, 3, 16, 16), np.float32))
    print("ran")
except IngotError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("kilobytes", "said"),
    [(3 << 10, "this process cannot start 6 threads: use fewer, or raise"), (64 << 10, "ran")],
)
def test_limits_of_address_space_are_errors(
    small_artifact: Artifact, kilobytes: int, said: str
) -> None:
    done = run_python(LIMITED, str(small_artifact.path), str(kilobytes))
    assert (done.returncode, done.stdout[: len(said)]) == (0, said), done.stderr
    assert done.stdout.count("\n") == 1


def test_the_library_says_what_to_do_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from ingot.errors import ArtifactError
    from ingot.runtime import native_library

    native_library.native_library.cache_clear()
    monkeypatch.setattr(native_library, "library_path", lambda: tmp_path / "libingot-none.so")
    with pytest.raises(ArtifactError, match="libingot-none.so is missing from this installation"):
        native_library.native_library()
