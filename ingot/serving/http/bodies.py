"""Bodies: read within a limit, and packed and unpacked."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import zstandard

from ingot.serving.http.replies import Reply
from ingot.serving.requests import Cause, RefusedError

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_GZIP, _ZLIB = 31, 15  # zlib's window bits
# Bytes below which packing saves no packet.
_SMALLEST = 1400
# A body that is not smaller than this part of itself was not worth the time.
_WORTH = 0.9
# Of the answers at a place where packing did not pay, one in so many is tried again.
_RETRIED = 64


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], most: int) -> bytes:
    """Reads a request's body and unpacks it.

    Args:
        receive: Gives the body's pieces.
        headers: The request's headers.
        most: Most bytes, as they come and unpacked.

    Raises:
        RefusedError: It is too large, damaged, or the client left.
    """
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > most:
        raise _too_large(most)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        pieces, total = [body], len(body)
        while message.get("more_body", False):
            message = await receive()
            pieces.append(message.get("body", b""))
            total += len(pieces[-1])
            if total > most:
                raise _too_large(most)
        body = b"".join(pieces)
    if message["type"] == "http.disconnect":
        raise RefusedError(Cause.CANCELLED, "the client left")
    if len(body) > most:
        raise _too_large(most)
    encoding = headers.get(b"content-encoding")
    return body if encoding is None else unpacked(body, encoding.decode("latin-1"), most)


def unpacked(body: bytes, encoding: str, most: int) -> bytes:
    """Unpacks a body.

    Raises:
        RefusedError: It is damaged, too large, or of an unknown encoding.
    """
    encoding = encoding.strip().lower()
    try:
        if encoding in ("", "identity"):
            return body
        if encoding in ("gzip", "deflate"):
            return _inflated(body, _GZIP if encoding == "gzip" else _ZLIB, most)
        if encoding == "zstd":
            return _from_zstd(body, most)
    except (zlib.error, zstandard.ZstdError):
        raise RefusedError(Cause.INVALID, f"the body is not {encoding}") from None
    raise RefusedError(
        Cause.INVALID, f"encoding '{encoding[:40]}' is none of gzip, deflate and zstd"
    )


def _inflated(body: bytes, window: int, most: int) -> bytes:
    inflater = zlib.decompressobj(window)
    result = inflater.decompress(body, most + 1)
    if len(result) > most:
        raise _too_large(most)
    if not inflater.eof:
        raise zlib.error
    return result


def _from_zstd(body: bytes, most: int) -> bytes:
    unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 23).stream_reader(body)
    pieces, total = [], 0
    while piece := unpacker.read(min(1 << 20, most + 1 - total)):
        pieces.append(piece)
        total += len(piece)
        if total > most:
            raise _too_large(most)
    return b"".join(pieces)


def _too_large(most: int) -> RefusedError:
    return RefusedError(Cause.TOO_LARGE, f"the body exceeds the limit of {most} bytes")


@dataclasses.dataclass
class _Benefit:
    """How much packing saved at a place."""

    ratio: float = 0.0
    skipped: int = 0


class Compressor:
    """Packs answers for clients that take them so, where that makes them smaller.

    Weights of a softmax or random numbers hardly shrink: where packing did not pay, it is tried
    again only now and then.
    """

    def __init__(self) -> None:
        self._benefits: dict[str, _Benefit] = {}

    def compress(self, reply: Reply, accepted: bytes, place: str) -> None:
        """Packs an answer in place.

        Args:
            reply: The answer.
            accepted: What the client takes, its ``Accept-Encoding``.
            place: Answers to requests for the same place are taken to be alike.
        """
        encoding = preferred_encoding(accepted.decode("latin-1"))
        if encoding is None or len(reply.body) < _SMALLEST or reply.status != 200:
            return
        benefit = (
            self._benefits.setdefault(place, _Benefit())
            if len(self._benefits) < 4096
            else _Benefit()
        )
        if benefit.ratio > _WORTH and benefit.skipped < _RETRIED:
            benefit.skipped += 1
            return
        packed = _packed(reply.body, encoding)
        benefit.ratio, benefit.skipped = len(packed) / len(reply.body), 0
        if benefit.ratio <= _WORTH:
            reply.body = packed
            reply.headers.append((b"content-encoding", encoding.encode()))
            reply.headers.append((b"vary", b"Accept-Encoding"))


def preferred_encoding(accepted: str) -> str | None:
    """Returns the encoding to pack with; None where the client takes none that is offered."""
    taken = {}
    for part in accepted.split(","):
        name, _, parameters = part.strip().lower().partition(";")
        quality = parameters.strip().removeprefix("q=")
        try:
            taken[name.strip()] = float(quality) if quality else 1.0
        except ValueError:
            taken[name.strip()] = 0.0
    offered = [name for name in ("zstd", "gzip", "deflate") if taken.get(name, 0.0) > 0]
    return max(offered, key=lambda name: taken[name], default=None)


def _packed(body: bytes, encoding: str) -> bytes:
    if encoding == "zstd":
        return zstandard.ZstdCompressor(level=1).compress(body)
    packer = zlib.compressobj(1, zlib.DEFLATED, _GZIP if encoding == "gzip" else _ZLIB)
    return packer.compress(body) + packer.flush()
