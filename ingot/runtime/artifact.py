"""Reading an artifact: one file, its members mapped, every digest checked.

An ``*.ingot`` file is a zip archive with stored (uncompressed) members whose data begins at a
multiple of 64 bytes, so that weights are used where they lie and are shared between processes.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import struct
import zipfile
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
        except (zipfile.BadZipFile, KeyError, ValueError, struct.error) as error:
            raise ArtifactError(
                f"{self.path} is not an Ingot artifact, or is damaged or cut short: {error}"
            ) from error
        except ArtifactError as error:
            raise ArtifactError(f"{self.path}: {error}") from error

    def member(self, name: str) -> memoryview:
        """Returns the bytes of a member, mapped from the file.

        Raises:
            ArtifactError: The artifact has no such member.
        """
        if name not in self._spans:
            raise ArtifactError(f"{self.path} has no member {name}")
        offset, size = self._spans[name]
        return memoryview(self._map)[offset : offset + size]

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
                offset, size = self._spans[name]
                digest = hashlib.sha256()
                file.seek(offset)
                left = size
                while left and (chunk := file.read(min(_CHUNK, left))):
                    digest.update(chunk)
                    left -= len(chunk)
                if size != member.size or digest.hexdigest() != member.sha256:
                    raise ArtifactError(
                        f"{self.path} is damaged: member {name} does not have the digest that its "
                        "manifest states; copy or compile it again"
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


def _span(file: BinaryIO, info: zipfile.ZipInfo) -> tuple[int, int]:
    """Returns the offset and size of a stored member's data within the file."""
    if info.compress_type != zipfile.ZIP_STORED:
        raise zipfile.BadZipFile(f"member {info.filename} is compressed")
    file.seek(info.header_offset + _LOCAL_LENGTHS_OFFSET)
    lengths = file.read(_LOCAL_LENGTHS.size)
    name_length, extra_length = _LOCAL_LENGTHS.unpack(lengths)
    offset = info.header_offset + _LOCAL_HEADER_SIZE + name_length + extra_length
    return offset, info.file_size
