"""The kinds of entries, as they are recorded: tuples of a number, the thread, and what is at hand.

A number and not an object: the garbage collector lets tuples of numbers and strings alone, however
many there are. What an entry means is worked out when the session is exported. A request is its id,
or the number that it is called by, or None; one that an inference is of itself is below zero.
"""

from __future__ import annotations

from typing import Final

EVENT: Final = 0
"""(source, name, start, end, request, arguments or None)"""
MARK: Final = 1
"""(source, name, at, request, arguments or None)"""
COUNTER: Final = 2
"""(source, name, at, values)"""
PLACE: Final = 3
"""(name, start, end, request, arguments or None): a block on behalf of a request."""
STEP: Final = 4
"""(at, request): the request comes through what runs here."""
INFERENCE: Final = 5
"""(model, start, bound, entered, ran, end, request), times in order."""
KERNELS: Final = 6
"""(facts, names by number, rows of number, start, end, request): those of one inference."""
ESTIMATE: Final = 7
"""(region, start, cycles per second, cycles, layers, request): what an NPU is estimated to take."""
