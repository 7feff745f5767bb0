"""Connections of the HTTP server, within limits that uvicorn leaves open."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Bytes: what proxies and servers in use take at most.
_MOST_HEADER_BYTES = 64 << 10
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"connection: close\r\ncontent-length: 0\r\n\r\n"
)


class BoundedConnection(HttpToolsProtocol):
    """A connection whose requests' headers are bounded: the parser collects them without end."""

    _header_bytes = 0

    def on_message_begin(self) -> None:
        """Counts anew."""
        self._header_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Counts the URL."""
        self._count(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Counts a header."""
        self._count(name + value)
        super().on_header(name, value)

    def _count(self, piece: bytes) -> None:
        self._header_bytes += len(piece)
        if self._header_bytes > _MOST_HEADER_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()
            raise ValueError("headers are too large")
