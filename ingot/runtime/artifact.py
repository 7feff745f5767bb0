"""Reading an artifact: one file, its members mapped, every digest checked.

An ``*.ingot`` file is a zip archive. The data of each member begins at a multiple of 64 bytes.
Weights are stored uncompressed, so that they are used where they lie and are shared between
processes; members that are copied anyway when they are loaded, such as code, are deflated.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ingot.errors import ArtifactError
from ingot.runtime.alignment import ALIGNMENT, aligned_empty
from ingot.runtime.archive import DamagedArchiveError, Entry, read_entries
from ingot.runtime.cpu_features import machine_architecture, missing_features
from ingot.runtime.leases import FixedMapping
from ingot.runtime.manifest import CODE_MEMBER, MANIFEST_MEMBER, Manifest
from ingot.runtime.stored_file import StoredFile
from ingot.runtime.trust import LARGEST_SIGNATURES, SIGNATURES_MEMBER, TrustedKeys
from ingot.runtime.typed_json import LARGEST_TEXT


class ArtifactReader:
    """An artifact opened for reading.

    Opening it parses the manifest only; ``verify`` checks the digests and ``check_machine``
    whether the code can run here. The file is opened once: what is read later is of the same file,
    also when another one has taken its name.

    Attributes:
        path: Where it lies.
        manifest: What it says of itself.
        manifest_text: The same as it stands in the file.
        signatures: Its member ``signatures.json``; None if it is not signed.
        signer: The name of the trusted key that has signed it; None if that was not checked.
    """

    def __init__(self, path: str | os.PathLike[str], keys: TrustedKeys | None = None) -> None:
        """Opens the file at ``path``.

        Args:
            path: An ``*.ingot`` file.
            keys: One of them has to have signed it; None asks for no signature.

        Raises:
            ArtifactError: There is no such file, or it is not an artifact, or it is damaged.
            UntrustedError: None of the keys has signed it, or it was changed since.
        """
        self.path = Path(path)
        self._checked: set[str] = set()
        self._mappings: list[FixedMapping] = []
        try:
            self._file = StoredFile(self.path)
            self._entries = read_entries(self._file.read, self._file.size)
            self.manifest_text = self._text(MANIFEST_MEMBER, LARGEST_TEXT)
            signed = SIGNATURES_MEMBER in self._entries
            self.signatures = self._text(SIGNATURES_MEMBER, LARGEST_SIGNATURES) if signed else None
            # Before anything that it says is believed.
            self.signer = keys.check(self.manifest_text, self.signatures) if keys else None
            self.manifest = Manifest.from_json(self.manifest_text)
        except FileNotFoundError:
            raise ArtifactError(f"there is no artifact at {self.path}") from None
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from error
        except ArtifactError as error:
            raise type(error)(f"{self.path}: {error}") from error

    def member(self, name: str) -> memoryview:
        """Returns the bytes of a member, whose digest has been checked.

        Those that are stored as they are used are mapped from the file, where the system keeps
        others from changing it meanwhile; all others are copies. A copy begins at a multiple of
        64 bytes; what is mapped begins there where it does so in the file.

        Raises:
            ArtifactError: The artifact has no such member, it is damaged, or there is no memory.
        """
        if name not in self._entries or name not in self.manifest.members:
            raise ArtifactError(f"{self.path} has no member {name}")
        entry = self._entries[name]
        try:
            if not entry.deflated and entry.offset % ALIGNMENT == 0:
                mapped = self._file.map(entry.offset, entry.length)
                if mapped is not None:
                    self._mappings.append(mapped[0])
                    self._check(entry)
                    return mapped[1]
            return self._copy(entry)
        except MemoryError:
            raise ArtifactError(
                f"there is no memory for {name} of {self.path}, {entry.size} bytes"
            ) from None

    def require_intact(self) -> None:
        """Checks that what is mapped is what it was when it was loaded.

        Raises:
            ArtifactError: The file has been changed, and the system has not waited for a copy.
        """
        for mapping in self._mappings:
            if mapping.lost:
                raise ArtifactError(
                    f"{self.path} was overwritten while it was in use: load it again, and replace "
                    "artifacts by renaming another file to their name"
                )

    def verify(self) -> None:
        """Checks that each member is there and has the digest that the manifest states.

        The members are read, not mapped, so that checking does not make the weights resident.
        Those that have been checked when they were loaded are not read again.

        Raises:
            ArtifactError: A member is missing, superfluous or damaged.
        """
        stated = set(self.manifest.members) | {MANIFEST_MEMBER}
        for name in sorted(stated ^ (set(self._entries) - {SIGNATURES_MEMBER})):
            raise ArtifactError(
                f"{self.path} is damaged: member {name} is "
                f"{'missing' if name in stated else 'not listed in the manifest'}"
            )
        for name in self.manifest.members:
            if name not in self._checked:
                self._check(self._entries[name])

    def close(self) -> None:
        """Closes the file; what has been mapped from it stays."""
        self._file.close()

    def _text(self, name: str, largest: int) -> bytes:
        """Returns a member that no digest covers, held against its checksum."""
        if name not in self._entries:
            raise DamagedArchiveError(f"it has no member {name}")
        entry = self._entries[name]
        if entry.size > largest:
            raise DamagedArchiveError(f"its {name} is larger than any")
        return entry.read_checked(self._file.read)

    def _copy(self, entry: Entry) -> memoryview:
        """Returns a member in memory of its own, checked as it is read."""
        self._require_size(entry)
        array = aligned_empty((entry.size,), np.dtype(np.uint8))
        position = 0
        for chunk in self._digested(entry):
            array[position : position + len(chunk)] = memoryview(chunk)
            position += len(chunk)
        return array.data

    def _check(self, entry: Entry) -> None:
        for _ in self._digested(entry):
            pass

    def _digested(self, entry: Entry) -> Iterator[bytes]:
        """Yields a member's bytes in parts; raises behind the last one if they are not it."""
        stated = self.manifest.members[entry.name]
        self._require_size(entry)
        digest = hashlib.sha256()
        try:
            for chunk in entry.chunks(self._file.read):
                digest.update(chunk)
                yield chunk
        except (DamagedArchiveError, OSError) as error:
            raise self._damaged(entry.name) from error
        if digest.hexdigest() != stated.sha256:
            raise self._damaged(entry.name)
        self._checked.add(entry.name)

    def _require_size(self, entry: Entry) -> None:
        """Refuses a member of another size than it should have, before anything is read."""
        if self.manifest.members[entry.name].size != entry.size:
            raise self._damaged(entry.name)

    def _damaged(self, name: str) -> ArtifactError:
        return ArtifactError(
            f"{self.path} is damaged: member {name} does not have the digest that its manifest "
            "states; copy or compile it again"
        )

    def _unreadable(self, error: OSError | ValueError) -> ArtifactError:
        if isinstance(error, OSError):
            return ArtifactError(f"cannot read {self.path}: {error.strerror or error}")
        return ArtifactError(
            f"{self.path} is not an Ingot artifact, or is damaged or cut short: {error}"
        )

    def check_machine(self) -> None:
        """Checks that this machine can run the artifact's code.

        Raises:
            ArtifactError: The architecture differs or the CPU lacks features; says which.
        """
        target = self.manifest.target
        if CODE_MEMBER not in self.manifest.members:
            return  # What runs its regions says what it needs.
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
