"""Arrays sown with what floats have besides ordinary numbers, and comparing results of them."""

from __future__ import annotations

import numpy as np

LARGEST = np.finfo(np.float32).max
SPECIAL = np.array(
    [
        np.nan, np.inf, -np.inf, 0.0, -0.0, LARGEST, -LARGEST, 1e-40, -1e-42, 1e-38, 1.0, -1.0,
        0.5, -0.5, 1.5, 2.5, -2.5, 3.0, 6.0, -7.0, 88.9, 89.0, -104.0, 100.0, -100.0, 1e-8, 1e30,
        -1e-30, 8388609.0, 0.49999997,
    ],
    np.float32,
)  # fmt: skip
# A whole group of vectors and one more, an overlapping one, and one that is less than a vector.
LENGTHS = (85, 3)


def sown(*shape: int, seed: int = 0) -> np.ndarray:
    """Random numbers, two in five of them special; each special value once where there is room."""
    generator = np.random.default_rng(seed)
    array = (3 * generator.normal(size=shape)).astype(np.float32)
    chosen = generator.random(shape) < 0.4
    array[chosen] = generator.choice(SPECIAL, chosen.sum())
    flat = array.reshape(-1)
    count = min(flat.size, SPECIAL.size)
    flat[:count] = SPECIAL[:count]
    generator.shuffle(flat)
    return array


def sown_rows(*shape: int) -> np.ndarray:
    """Rows, every other with NaN or infinities: at the ends, in the middle, throughout."""
    array = (3 * np.random.default_rng(1).normal(size=shape)).astype(np.float32)
    infinite = np.inf
    patterns = [
        (slice(None), -infinite), (0, np.nan), (-1, np.nan), (shape[-1] // 2, np.nan),
        (0, infinite), (slice(1, None), -infinite), (slice(None), np.nan),
        (slice(None), infinite), (slice(None, None, 2), -infinite),
    ]  # fmt: skip
    for number, row in enumerate(array.reshape(-1, shape[-1])[::2]):
        place, value = patterns[number % len(patterns)]
        row[place] = value
    return array


def assert_same(
    name: str, found: np.ndarray, expected: np.ndarray, *, rtol: float = 1e-5, atol: float = 0.0
) -> None:
    """Compares element by element: NaN is NaN, infinities have their sign."""
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype), name
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected, err_msg=name)
        return
    # Subnormal results may be zero.
    least = max(atol, float(np.finfo(np.float32).tiny))
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=least, err_msg=name)
