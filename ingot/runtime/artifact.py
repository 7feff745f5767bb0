"""Reading an artifact: one file, its members mapped, every digest checked.

An ``*.ingot`` file is a zip archive. The data of each member begins at a multiple of 64 bytes.
Weights are stored uncompressed, so that they are used where they lie and are shared between
processes; members that are copied anyway when they are loaded, such as code, are deflated.
"""

from __future__ import annotations

import dataclasses
import hashlib
import mmap
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ingot.errors import ArtifactError
from ingot.runtime.cpu_features import machine_architecture, missing_features
from ingot.runtime.manifest import MANIFEST_MEMBER, Manifest

_CHUNK = 1 << 20
# The fixed part of a zip local file header ends with the lengths of the name and extra fields
# (APPNOTE.TXT 4.3.7).
_LOCAL_HEADER_SIZE = 30
_LOCAL_LENGTHS = struct.Struct("<HH")
_LOCAL_LENGTHS_OFFSET = 26


class ArtifactReader:
    """An artifact opened for reading.

    Opening it parses the manifest only; ``verify`` checks the digests and ``check_machine``
    whether the code can run here. The file is mapped privately: pages are shared between processes
    until one writes to them, which nothing does.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Opens the file at ``path``.

        Raises:
            ArtifactError: There is no such file, or it is not an artifact, or it is damaged.
        """
        self.path = Path(path)
        try:
            with self.path.open("rb") as file, zipfile.ZipFile(file) as archive:
                self._spans = {info.filename: _span(file, info) for info in archive.infolist()}
                self.manifest = Manifest.from_json(archive.read(MANIFEST_MEMBER))
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except FileNotFoundError:
            raise ArtifactError(f"there is no artifact at {self.path}") from None
        except (IsADirectoryError, PermissionError) as error:
            raise ArtifactError(f"cannot read {self.path}: {error.strerror}") from error
        except (zipfile.BadZipFile, KeyError, ValueError, struct.error, zlib.error) as error:
            raise ArtifactError(
                f"{self.path} is not an Ingot artifact, or is damaged or cut short: {error}"
            ) from error
        except ArtifactError as error:
            raise ArtifactError(f"{self.path}: {error}") from error

    def member(self, name: str) -> memoryview:
        """Returns the bytes of a member: mapped from the file, or inflated if it is deflated.

        Raises:
            ArtifactError: The artifact has no such member, or it cannot be inflated.
        """
        if name not in self._spans:
            raise ArtifactError(f"{self.path} has no member {name}")
        span = self._spans[name]
        if not span.deflated:
            return memoryview(self._map)[span.offset : span.offset + span.length]
        with self.path.open("rb") as file:
            try:
                return memoryview(b"".join(span.read(file)))
            except zlib.error as error:
                raise self._damaged(name) from error

    def verify(self) -> None:
        """Checks that each member is there and has the digest that the manifest states.

        The members are read, not mapped, so that checking does not make the weights resident.

        Raises:
            ArtifactError: A member is missing, superfluous or damaged.
        """
        stated = set(self.manifest.members) | {MANIFEST_MEMBER}
        for name in sorted(stated ^ set(self._spans)):
            raise ArtifactError(
                f"{self.path} is damaged: member {name} is "
                f"{'missing' if name in stated else 'not listed in the manifest'}"
            )
        with self.path.open("rb") as file:
            for name, member in self.manifest.members.items():
                digest = hashlib.sha256()
                size = 0
                try:
                    for chunk in self._spans[name].read(file):
                        digest.update(chunk)
                        size += len(chunk)
                except zlib.error as error:
                    raise self._damaged(name) from error
                if size != member.size or digest.hexdigest() != member.sha256:
                    raise self._damaged(name)

    def _damaged(self, name: str) -> ArtifactError:
        return ArtifactError(
            f"{self.path} is damaged: member {name} does not have the digest that its manifest "
            "states; copy or compile it again"
        )

    def check_machine(self) -> None:
        """Checks that this machine can run the artifact's code.

        Raises:
            ArtifactError: The architecture differs or the CPU lacks features; says which.
        """
        target = self.manifest.target
        if target.architecture != machine_architecture():
            raise ArtifactError(
                f"{self.path} was compiled for {target.architecture}, this machine is "
                f"{machine_architecture()}: compile it for this machine"
            )
        if lacking := missing_features(target.features):
            raise ArtifactError(
                f"{self.path} was compiled for {target.spec}, and this CPU lacks "
                f"{', '.join(lacking)}: compile it with --target cpu on this machine"
            )


@dataclasses.dataclass(frozen=True)
class _Span:
    """Where a member lies in the file.

    Attributes:
        offset: Where its data begins, in bytes.
        length: Bytes of it in the file.
        size: Bytes of the member.
        deflated: Whether the data is a raw deflate stream (RFC 1951).
    """

    offset: int
    length: int
    size: int
    deflated: bool

    def read(self, file: BinaryIO) -> Iterator[bytes]:
        """Yields the member's bytes in parts, at most one part more than its size.

        Raises:
            zlib.error: The deflate stream is damaged.
        """
        file.seek(self.offset)
        stream = zlib.decompressobj(-zlib.MAX_WBITS) if self.deflated else None
        left, size = self.length, 0
        while left and size <= self.size and (chunk := file.read(min(_CHUNK, left))):
            left -= len(chunk)
            if stream is not None:
                chunk = stream.decompress(chunk, self.size + 1 - size)
            size += len(chunk)
            yield chunk


def _span(file: BinaryIO, info: zipfile.ZipInfo) -> _Span:
    """Returns where a member's data lies within the file."""
    if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
        raise zipfile.BadZipFile(f"member {info.filename} is compressed by an unknown method")
    file.seek(info.header_offset + _LOCAL_LENGTHS_OFFSET)
    lengths = file.read(_LOCAL_LENGTHS.size)
    name_length, extra_length = _LOCAL_LENGTHS.unpack(lengths)
    offset = info.header_offset + _LOCAL_HEADER_SIZE + name_length + extra_length
    deflated = info.compress_type == zipfile.ZIP_DEFLATED
    return _Span(offset, info.compress_size, info.file_size, deflated)
