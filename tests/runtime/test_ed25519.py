"""Signatures are checked as RFC 8032 says, and as ``cryptography`` does."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from ingot.runtime.ed25519 import is_key, is_signed

ORDER = 2**252 + 27742317777372353535851937790883648493
P = 2**255 - 19

# RFC 8032, section 7.1, TEST 1, 2 and 3: public key, message, signature.
VECTORS = {
    "empty": (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b4"
        "6bd25bf5f0595bbe24655141438e7a100b",
    ),
    "one byte": (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d"
        "8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    "two bytes": (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6"
        "594a7c15e9716ed28dc027beceea1ec40a",
    ),
}


@pytest.mark.parametrize("vector", VECTORS)
def test_vectors_of_the_rfc_hold_and_none_with_a_changed_byte(vector: str) -> None:
    key, message, signature = map(bytes.fromhex, VECTORS[vector])
    assert is_signed(key, message, signature)
    assert not is_signed(key, message + b"\0", signature)
    for position in range(64):
        changed = bytearray(signature)
        changed[position] ^= 1 << position % 8
        assert not is_signed(key, message, bytes(changed))


@settings(max_examples=20)
@given(
    seed=st.binary(min_size=32, max_size=32), message=st.binary(max_size=300), bit=st.integers(0)
)
def test_what_cryptography_signs_is_signed_by_that_key_and_no_other(
    seed: bytes, message: bytes, bit: int
) -> None:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    key, signature = private.public_key().public_bytes_raw(), private.sign(message)
    assert is_key(key)
    assert is_signed(key, message, signature)
    changed = bytearray(key)
    changed[bit % 256 // 8] ^= 1 << bit % 8
    assert not is_signed(bytes(changed), message, signature)


def test_one_signature_has_one_form() -> None:
    key, message, signature = map(bytes.fromhex, VECTORS["one byte"])
    response = int.from_bytes(signature[32:], "little")
    for other in (response + ORDER, response + 2 * ORDER):
        assert not is_signed(key, message, signature[:32] + other.to_bytes(32, "little"))
    for wrong in (b"", signature[:-1], signature + b"\0"):
        assert not is_signed(key, message, wrong)


# The points of small order, in their canonical forms and in others (y and y + p).
SMALL_ORDER = [
    (1).to_bytes(32, "little"),
    (P - 1).to_bytes(32, "little"),
    (0).to_bytes(32, "little"),
    (1 << 255).to_bytes(32, "little"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    (P + 1).to_bytes(32, "little"),
    P.to_bytes(32, "little"),
    (1 | 1 << 255).to_bytes(32, "little"),
]


@pytest.mark.parametrize("key", SMALL_ORDER, ids=range(len(SMALL_ORDER)))
def test_a_key_that_would_sign_anything_is_none(key: bytes) -> None:
    """Under a key of order 1, R = [S]B is a signature of every message."""
    assert not is_key(key)
    base = bytes.fromhex("58" + "66" * 31)
    assert not is_signed(key, b"anything", base + (1).to_bytes(32, "little"))
    assert not is_signed(key, b"anything", (1).to_bytes(32, "little") + bytes(32))


def test_bytes_that_are_no_point_are_no_key() -> None:
    private = Ed25519PrivateKey.from_private_bytes(bytes(32))
    signature = private.sign(b"x")
    none = [bytes([number]) + bytes(31) for number in (2, 7, 8)]
    for key in (*none, b"", bytes(33), b"\xff" * 32):
        assert not is_key(key)
        assert not is_signed(key, b"x", signature)
