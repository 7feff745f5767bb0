"""Every inference is kept count of, whoever runs it, in bounded memory."""

from __future__ import annotations

import threading
import time

from ingot.runtime.recorder import BOUNDS_NS, KEPT, Recorder

MS = 1_000_000


def test_the_bounds_ascend_from_ten_microseconds_to_ten_seconds() -> None:
    assert list(BOUNDS_NS) == sorted(set(BOUNDS_NS))
    assert (BOUNDS_NS[0], BOUNDS_NS[-1], len(BOUNDS_NS)) == (10_000, 10_000_000_000, 19)


def test_memory_is_bounded() -> None:
    recorder = Recorder()
    for index in range(3 * KEPT):
        recorder.record(index, index + 5_000_000_000)
    recording = recorder.read()
    assert len(recording.ends_ns) == len(recording.taken_ns) == KEPT
    assert min(recording.ends_ns) == 2 * KEPT + 5_000_000_000
    assert len(recording.looks) <= 64
    assert recording.inferences == 3 * KEPT


def test_no_inference_of_several_threads_is_lost() -> None:
    recorder = Recorder()
    now = time.perf_counter_ns()

    def work() -> None:
        for _ in range(20_000):
            recorder.record(now, now + MS)
        recorder.record_error()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        recorder.read()
    for thread in threads:
        thread.join()
    recorded = recorder.read()
    assert (recorded.inferences, recorded.errors) == (80_000, 4)
    assert sum(recorded.counts) == 80_000
    assert recorded.total_ns == 80_000 * MS
