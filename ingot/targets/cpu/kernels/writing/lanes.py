"""Operations across the lanes of vectors: sums and maxima, transposes of square blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tvm import tirx

from ingot.targets.cpu.kernels.writing.emission import Emitter

# Lanes that x86 can interleave with one instruction; wider vectors repeat this per 128 bits.
_GROUP = 4


def shuffle(vectors: Sequence[tirx.Expr], indices: Sequence[int]) -> tirx.Expr:
    """Picks lanes out of vectors that are counted through; one index gives a scalar."""
    return tirx.Shuffle(list(vectors), [tirx.IntImm("int32", index) for index in indices])


def reduce_lanes(
    emitter: Emitter,
    vector: tirx.Expr,
    lanes: int,
    combine: Callable[[tirx.Expr, tirx.Expr], tirx.Expr],
) -> tirx.Var:
    """Combines the lanes of a vector (a power of two of them), halving it again and again."""
    value = emitter.bind("part", vector)
    while lanes > 1:
        lanes //= 2
        halves = [shuffle([value], range(start, start + lanes)) for start in (0, lanes)]
        value = emitter.bind("part", combine(*halves))
    return value


def transpose(emitter: Emitter, rows: Sequence[tirx.Expr]) -> list[tirx.Expr]:
    """Transposes a square block of as many vectors as they have lanes (4, 8 or 16).

    Blocks of 4 x 4 are transposed in all 128-bit groups at once, by interleaving neighbours twice;
    then the groups change places, a pair of distances at a time. Each step is one instruction on
    x86 (unpack, then a permutation of 128-bit groups).
    """
    lanes = len(rows)
    rows = [emitter.bind("row", row) for row in rows]
    columns: list[tirx.Expr] = []
    for first in range(0, lanes, _GROUP):
        a, b, c, d = rows[first : first + _GROUP]
        pairs = [
            emitter.bind("pair", shuffle([x, y], _interleave(lanes, half)))
            for x, y in ((a, b), (c, d))
            for half in (0, 1)
        ]
        low, high = (pairs[0], pairs[2]), (pairs[1], pairs[3])
        columns += [
            emitter.bind("quad", shuffle(parts, _join_halves(lanes, half)))
            for parts in (low, high)
            for half in (0, 1)
        ]
    distance = _GROUP
    while distance < lanes:
        columns = _exchange(emitter, columns, distance)
        distance *= 2
    return columns


def transpose_bytes(emitter: Emitter, rows: Sequence[tirx.Expr]) -> list[tirx.Expr]:
    """Transposes a square block of vectors of as many bytes as there are of them (a power of two).

    Each round interleaves every row of the upper half with the one as far down in the lower half.
    After as many rounds as a row's number has bits, rows and columns have changed places. Each step
    is one instruction on x86 and Arm, of 16 bytes; Eklundh, "A Fast Computer Method for
    Matrix Transposing" (1972), exchanges the same in place.
    """
    lanes = half = len(rows)
    rows = [emitter.bind("row", row) for row in rows]
    while half > 1:
        half //= 2
        rows = [
            emitter.bind("pair", shuffle(pair, _interleaved_half(lanes, part)))
            for pair in zip(rows[: lanes // 2], rows[lanes // 2 :], strict=True)
            for part in (0, 1)
        ]
    return list(rows)


def _interleaved_half(lanes: int, part: int) -> list[int]:
    """Lanes 0, 0', 1, 1', ... of the first (or second) halves of two vectors."""
    first = part * lanes // 2
    return [first + lane + other * lanes for lane in range(lanes // 2) for other in (0, 1)]


def _interleave(lanes: int, half: int) -> list[int]:
    """Lanes 0, 0', 1, 1' (or 2, 2', 3, 3') of each group of four."""
    return [
        group + 2 * half + pair + other * lanes
        for group in range(0, lanes, _GROUP)
        for pair in (0, 1)
        for other in (0, 1)
    ]


def _join_halves(lanes: int, half: int) -> list[int]:
    """The first (or second) halves of each group of four of two vectors."""
    return [
        group + 2 * half + lane + other * lanes
        for group in range(0, lanes, _GROUP)
        for other in (0, 1)
        for lane in (0, 1)
    ]


def _exchange(emitter: Emitter, vectors: list[tirx.Expr], distance: int) -> list[tirx.Expr]:
    """Exchanges the off-diagonal blocks of ``distance`` lanes and as many vectors."""
    lanes = len(vectors)
    result = list(vectors)
    for first in range(lanes):
        if first & distance:
            continue
        pair = (vectors[first], vectors[first + distance])
        for half in (0, 1):
            indices = [
                block + half * distance + lane + other * lanes
                for block in range(0, lanes, 2 * distance)
                for other in (0, 1)
                for lane in range(distance)
            ]
            result[first + half * distance] = emitter.bind("block", shuffle(pair, indices))
    return result
