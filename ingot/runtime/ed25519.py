"""Checking Ed25519 signatures.

From RFC 8032, "Edwards-Curve Digital Signature Algorithm", sections 5.1.3, 5.1.4 and 5.1.7. It
checks and does not sign: all that it computes with is public, so that the time it takes tells
nothing, and Python's integers are all that it needs (some 2 ms a signature). Keys are made, and
artifacts signed, by the ``cryptography`` package.

Of what RFC 8032 leaves open the strict way is taken, so that there is one answer to each question:
numbers are written in the one canonical way, a key is no point of small order, and the equation is
checked without a factor of eight.
"""

from __future__ import annotations

import hashlib

KEY_BYTES = 32
SIGNATURE_BYTES = 64

_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT_OF_MINUS_ONE = pow(2, (_P - 1) // 4, _P)

# X : Y : Z : T, extended coordinates with x = X/Z, y = Y/Z and x·y = T/Z.
_Point = tuple[int, int, int, int]
_NEUTRAL: _Point = (0, 1, 1, 0)


def is_signed(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether a signature of a message was made by the owner of a key.

    Args:
        public_key: 32 bytes.
        message: What was signed.
        signature: 64 bytes.
    """
    if len(public_key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    key = _decompressed(public_key)
    response = int.from_bytes(signature[32:], "little")
    if key is None or _has_small_order(key) or response >= _ORDER:
        return False
    digest = hashlib.sha512(signature[:32] + public_key + message).digest()
    challenge = int.from_bytes(digest, "little") % _ORDER
    x, y, z, t = key
    commitment = _sum_of_multiples(response, _BASE, challenge, (_P - x, y, z, _P - t))
    return _compressed(commitment) == signature[:32]


def is_key(public_key: bytes) -> bool:
    """Whether bytes are a public key that signatures can be made for."""
    point = _decompressed(public_key) if len(public_key) == KEY_BYTES else None
    return point is not None and not _has_small_order(point)


def _decompressed(encoded: bytes) -> _Point | None:
    """Returns the point that 32 bytes stand for; None if they stand for none."""
    number = int.from_bytes(encoded, "little")
    sign, y = number >> 255, number & (2**255 - 1)
    if y >= _P:
        return None
    x_squared = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(x_squared, (_P + 3) // 8, _P)
    if (x * x - x_squared) % _P:
        x = x * _ROOT_OF_MINUS_ONE % _P
    if (x * x - x_squared) % _P or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = _P - x
    return x, y, 1, x * y % _P


def _compressed(point: _Point) -> bytes:
    x, y, z, _ = point
    inverse = pow(z, -1, _P)
    return (y * inverse % _P | (x * inverse % _P & 1) << 255).to_bytes(32, "little")


def _sum(one: _Point, other: _Point) -> _Point:
    x1, y1, z1, t1 = one
    x2, y2, z2, t2 = other
    a = (y1 - x1) * (y2 - x2) % _P
    b = (y1 + x1) * (y2 + x2) % _P
    c = 2 * t1 * t2 * _D % _P
    d = 2 * z1 * z2 % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _sum_of_multiples(first: int, one: _Point, second: int, other: _Point) -> _Point:
    """Returns ``first·one + second·other``, both multiples doubled together."""
    both = _sum(one, other)
    result = _NEUTRAL
    for bit in range(max(first.bit_length(), second.bit_length()) - 1, -1, -1):
        result = _sum(result, result)
        chosen = (first >> bit & 1) + 2 * (second >> bit & 1)
        if chosen:
            result = _sum(result, (one, other, both)[chosen - 1])
    return result


def _has_small_order(point: _Point) -> bool:
    """Whether eight times the point is the neutral one: such a key signs anything."""
    for _ in range(3):
        point = _sum(point, point)
    x, y, z, _ = point
    return x % _P == 0 and (y - z) % _P == 0


def _base() -> _Point:
    y = 4 * pow(5, -1, _P) % _P
    point = _decompressed(y.to_bytes(32, "little"))
    assert point is not None
    return point


_BASE = _base()
