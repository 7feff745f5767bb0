"""Where entries wait until they are exported: bounded, and filled by all threads without a lock.

What an entry costs is mostly what it touches: an inference has just filled the caches with its
weights, and each function of Python that runs behind it is fetched anew. So an entry is one tuple,
appended by one call of the interpreter's own code, which no other thread can come between.
"""

from __future__ import annotations

import collections
import itertools
import threading
from typing import Any, TypeAlias

Entry: TypeAlias = tuple[Any, ...]
"""An entry as it is recorded: see :mod:`ingot.runtime.profiling.entries`."""


class _ThisThread(threading.local):
    """What is said of the thread that asks.

    Attributes:
        facts: Its id, as the system has it, and its name.
    """

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """Reads it again: the thread of a forked child has another id."""
        self.facts = (threading.get_native_id(), threading.current_thread().name)


this_thread = _ThisThread()


class Buffers:
    """The newest entries of a session.

    Args:
        limit: How many are kept, and how many parts of those that have several.

    Attributes:
        append: Adds an entry. Whoever calls it calls ``count`` first.
        count: Counts an entry.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: collections.deque[Entry] = collections.deque(maxlen=limit)
        self._counter = itertools.count()
        self._times_read = 0
        self.append = self._entries.append
        self.count = self._counter.__next__
        self._lock = threading.Lock()
        self._many: collections.deque[tuple[Entry, int]] = collections.deque()
        self._parts = 0
        self._lost_parts = 0

    def append_many(self, entry: Entry, parts: int) -> None:
        """Adds an entry that has several parts, and counts as them."""
        with self._lock:
            self._many.append((entry, parts))
            self._parts += parts
            while self._parts > self._limit:
                lost = self._many.popleft()[1]
                self._parts -= lost
                self._lost_parts += lost

    def read(self) -> tuple[list[Entry], int]:
        """Returns the entries, while threads may be adding more, and how many were lost."""
        with self._lock:
            entries = self._snapshot()
            # Reading a counter counts.
            added = next(self._counter) - self._times_read
            self._times_read += 1
            lost = max(0, added - self._limit) + self._lost_parts
            return [*entries, *(entry for entry, _ in self._many)], lost

    def renew_lock(self) -> None:
        """Makes the buffers usable in a forked child, whatever other threads held."""
        self._lock = threading.Lock()

    def _snapshot(self) -> list[Entry]:
        while True:
            try:
                return list(self._entries)
            except RuntimeError:
                # An entry was added meanwhile.
                continue
