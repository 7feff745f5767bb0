"""Where entries wait until they are exported: one bounded buffer for each thread.

Nothing is locked when an entry is added: a thread appends to its own buffer. A full buffer loses
its oldest entry for each new one, so that what led to a moment is kept, and counts what it lost.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeAlias

Entry: TypeAlias = tuple[Any, ...]
"""An entry as it is recorded: its kind first (see :mod:`ingot.runtime.profiling.entries`)."""


@dataclasses.dataclass(frozen=True)
class ThreadEntries:
    """The entries of a thread.

    Attributes:
        thread: Its id, as the system has it.
        name: Its name.
        entries: What it recorded, in order.
    """

    thread: int
    name: str
    entries: tuple[Entry, ...]


class Buffers:
    """The buffers of a session.

    A thread that has ended leaves its entries to a buffer that all such threads share: however many
    threads come and go, there are never more than ``limit`` entries for each living one, and as
    many for all others.

    Args:
        limit: Entries that are kept of each thread.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._local = threading.local()
        self._lock = threading.Lock()
        self._open: list[_Buffer] = []
        self._ended: collections.deque[tuple[int, str, Entry]] = collections.deque(maxlen=limit)
        self._many: collections.deque[tuple[int, str, Entry, int]] = collections.deque()
        self._count_of_many = 0
        self._dropped = 0

    def append(self, entry: Entry) -> None:
        """Adds an entry of the calling thread."""
        try:
            count, append = self._local.ends
        except AttributeError:
            count, append = self._open_buffer()
        count()
        append(entry)

    def append_many(self, entry: Entry, count: int) -> None:
        """Adds an entry of the calling thread that stands for many; ``limit`` of them stay."""
        thread, name = threading.get_native_id(), threading.current_thread().name
        with self._lock:
            self._many.append((thread, name, entry, count))
            self._count_of_many += count
            while self._count_of_many > self._limit:
                lost = self._many.popleft()[-1]
                self._count_of_many -= lost
                self._dropped += lost

    @property
    def dropped(self) -> int:
        """How many entries were lost."""
        with self._lock:
            return self._dropped + sum(buffer.dropped() for buffer in self._open)

    def entries(self) -> list[ThreadEntries]:
        """Returns what there is now, by thread."""
        with self._lock:
            found = [ThreadEntries(b.thread, b.name, b.snapshot()) for b in self._open]
            others: dict[tuple[int, str], list[Entry]] = {}
            for thread, name, entry in self._ended:
                others.setdefault((thread, name), []).append(entry)
            for thread, name, entry, _ in self._many:
                others.setdefault((thread, name), []).append(entry)
        found += [ThreadEntries(*key, tuple(entries)) for key, entries in others.items()]
        return found

    def renew_lock(self) -> None:
        """Makes the buffers usable in a forked child, whatever other threads held."""
        self._lock = threading.Lock()

    def _open_buffer(self) -> tuple[Callable[[], int], Callable[[Entry], None]]:
        alive = _Alive()
        buffer = _Buffer(self._limit, weakref.ref(alive))
        with self._lock:
            self._retire_ended()
            self._open.append(buffer)
        # The thread's own values go when it does, and with them what says that it lives.
        self._local.alive = alive
        self._local.ends = buffer.count, buffer.append
        return buffer.count, buffer.append

    def _retire_ended(self) -> None:
        living = []
        for buffer in self._open:
            if buffer.alive() is not None:
                living.append(buffer)
                continue
            entries = buffer.snapshot()
            room = self._limit - len(self._ended)
            self._dropped += buffer.dropped() + max(0, len(entries) - room)
            self._ended.extend((buffer.thread, buffer.name, entry) for entry in entries)
        self._open = living


class _Alive:
    """Lives as long as a thread's own values do."""


class _Buffer:
    """What one thread has recorded."""

    def __init__(self, limit: int, alive: weakref.ref[_Alive]) -> None:
        self.thread = threading.get_native_id()
        self.name = threading.current_thread().name
        self.alive = alive
        self._entries: collections.deque[Entry] = collections.deque(maxlen=limit)
        self._counter = itertools.count()
        self._times_read = 0
        self.count = self._counter.__next__
        self.append = self._entries.append

    def dropped(self) -> int:
        """How many entries were lost; only one thread at a time may ask."""
        # Reading a counter counts.
        added = next(self._counter) - self._times_read
        self._times_read += 1
        return max(0, added - len(self._entries))

    def snapshot(self) -> tuple[Entry, ...]:
        """Returns the entries, while the thread may be adding more."""
        while True:
            try:
                return tuple(self._entries)
            except RuntimeError:
                # An entry was added meanwhile.
                continue
