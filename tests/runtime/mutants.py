"""Artifacts with one thing wrong: in the archive's numbers, the manifest or the weights' header."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ingot.runtime.manifest import MANIFEST_MEMBER, WEIGHTS_MEMBER
from tests.fuzz.mutation import change_tree, changed_bytes

# Records of a zip archive by their signs, and their fields: offset and size in bytes.
_RECORDS = {
    b"PK\3\4": ((4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)),
    b"PK\1\2": (
        *((8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2)),
        *((34, 2), (38, 4), (42, 4), (46, 4)),
    ),
    b"PK\5\6": ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2)),
}


class Mutants:
    """Makes mutants of an artifact, by number.

    Args:
        path: The artifact.
    """

    def __init__(self, path: Path) -> None:
        self._whole = path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            self._members = {name: archive.read(name) for name in archive.namelist()}
        self._manifest = json.loads(self._members[MANIFEST_MEMBER])

    def make(self, seed: int) -> bytes:
        """Returns the mutant of a number."""
        generator = random.Random(seed)
        kinds: list[Callable[[random.Random], bytes]] = [
            self._with_another_number,
            self._with_other_bytes,
            self._with_another_manifest,
            self._with_another_header,
        ]
        return generator.choice(kinds)(generator)

    def _with_another_number(self, generator: random.Random) -> bytes:
        """A field of a record of the archive is something else."""
        data = bytearray(self._whole)
        sign = generator.choice(list(_RECORDS))
        places = [at for at in range(len(data) - 4) if data[at : at + 4] == sign]
        offset, size = generator.choice(_RECORDS[sign])
        at = generator.choice(places) + offset
        most = (1 << (8 * size)) - 1
        before = int.from_bytes(data[at : at + size], "little")
        now = generator.choice(
            [0, 1, 8, most, most // 2, before ^ (1 << generator.randrange(8 * size)),
             (before + generator.choice([-64, -1, 1, 64])) & most, generator.randint(0, most)]
        )  # fmt: skip
        data[at : at + size] = now.to_bytes(size, "little")
        return bytes(data)

    def _with_other_bytes(self, generator: random.Random) -> bytes:
        """Bytes are cut out, put in, or flipped anywhere."""
        return changed_bytes(self._whole, generator)

    def _with_another_manifest(self, generator: random.Random) -> bytes:
        manifest = copy.deepcopy(self._manifest)
        change_tree(manifest, generator)
        return self._zipped({**self._members, MANIFEST_MEMBER: _json(manifest)})

    def _with_another_header(self, generator: random.Random) -> bytes:
        """The weights' header is something else, and every digest right."""
        weights = self._members[WEIGHTS_MEMBER]
        (length,) = struct.unpack_from("<Q", weights)
        header = json.loads(weights[8 : 8 + length])
        change_tree(header, generator)
        text = _json(header)
        stated = generator.choice([len(text)] * 9 + [0, 1 << 62, len(text) - 1, len(weights)])
        changed = struct.pack("<Q", stated) + text + weights[8 + length :]
        manifest = copy.deepcopy(self._manifest)
        digest = hashlib.sha256(changed).hexdigest()
        manifest["members"][WEIGHTS_MEMBER] = {"size": len(changed), "sha256": digest}
        return self._zipped(
            {**self._members, MANIFEST_MEMBER: _json(manifest), WEIGHTS_MEMBER: changed}
        )

    @staticmethod
    def _zipped(members: dict[str, bytes]) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
        return buffer.getvalue()


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
