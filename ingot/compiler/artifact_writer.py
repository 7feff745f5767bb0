"""Writing an artifact: every member aligned, digests in the manifest, atomically in place."""

from __future__ import annotations

import hashlib
import json
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from ingot.compiler.narrowing import Scales, narrowed
from ingot.errors import ModelError
from ingot.files import atomic_file
from ingot.runtime.manifest import MANIFEST_MEMBER, WEIGHTS_MEMBER, Manifest, Member, WeightSpec
from ingot.runtime.safetensors import DTYPES, METADATA, NARROW, PADDING_PREFIX

ALIGNMENT = 64
_LOCAL_HEADER_SIZE = 30
# A zip extra field of a kind that readers skip: id and length, then padding.
_PADDING_FIELD = struct.Struct("<HH")
_PADDING_ID = 0xD935  # the id that Android's zipalign uses for alignment
_ZIP64_EXTRA_SIZE = 20
_ZIP64_FROM = 1 << 31
# Members carry no time: the same model and recipe give the same bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_HEADER_LENGTH = struct.Struct("<Q")
_DTYPE_CODES = {dtype: code for code, dtype in DTYPES.items()}


# A member's bytes, whole or in parts that follow each other.
Content = bytes | memoryview | Sequence[bytes | memoryview]


def write_artifact(path: Path, manifest: Manifest, members: Mapping[str, Content]) -> None:
    """Writes an artifact to ``path``, whole or not at all.

    Args:
        path: Where it goes; what is there is replaced at the end, by a rename.
        manifest: The manifest, whose ``members`` match.
        members: The members' bytes by name.

    Raises:
        ArtifactError: The file cannot be written; nothing is left behind.
    """
    write_members(path, {MANIFEST_MEMBER: manifest.to_json().encode(), **members})


def write_members(path: Path, members: Mapping[str, Content]) -> None:
    """Writes members, the manifest among them, to ``path``, whole or not at all.

    Raises:
        ArtifactError: The file cannot be written; nothing is left behind.
    """
    with atomic_file(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            _add(archive, file, name, data)


def describe_members(members: Mapping[str, Content]) -> dict[str, Member]:
    """Returns the sizes and digests of members, for the manifest."""
    described = {}
    for name, content in members.items():
        digest = hashlib.sha256()
        for part in _parts(content):
            digest.update(part)
        described[name] = Member(content_size(content), digest.hexdigest())
    return described


def describe_weights(weights: Mapping[str, npt.NDArray[np.generic]]) -> dict[str, WeightSpec]:
    """Returns what code and regions expect of weights, for the manifest."""
    return {name: WeightSpec(array.dtype.name, array.shape) for name, array in weights.items()}


def _parts(content: Content) -> Sequence[bytes | memoryview]:
    return (content,) if isinstance(content, (bytes, memoryview)) else content


def content_size(content: Content) -> int:
    """Bytes of a member."""
    return sum(len(part) for part in _parts(content))


def _add(archive: zipfile.ZipFile, file: BinaryIO, name: str, content: Content) -> None:
    info = zipfile.ZipInfo(name, date_time=_EPOCH)
    info.external_attr = 0o644 << 16
    info.file_size = content_size(content)
    # Weights are mapped from the file; all else is copied when it is loaded.
    info.compress_type = zipfile.ZIP_STORED if name == WEIGHTS_MEMBER else zipfile.ZIP_DEFLATED
    large = info.file_size >= _ZIP64_FROM
    header = _LOCAL_HEADER_SIZE + len(name.encode()) + (_ZIP64_EXTRA_SIZE if large else 0)
    begin = file.tell() + header + _PADDING_FIELD.size
    padding = -begin % ALIGNMENT
    info.extra = _PADDING_FIELD.pack(_PADDING_ID, padding) + bytes(padding)
    with archive.open(info, "w", force_zip64=large) as member:
        for part in _parts(content):
            member.write(part)


def serialize_weights(
    weights: Mapping[str, npt.NDArray[np.generic]], scales: Sequence[Scales] = ()
) -> list[bytes | memoryview]:
    """Returns weights as the parts of a safetensors file; each tensor is 64-byte aligned in it.

    Weights that a shorter type holds exactly are stored in it; the runtime makes them longer. The
    parts of the others are views of the arrays: weights of many gigabytes are not copied.

    Args:
        weights: The weights by name.
        scales: By which the model's integer weights stand for real ones.

    Raises:
        ModelError: A weight has a dtype that the runtime cannot hold; names it.
    """
    header: dict[str, object] = {}
    body: list[bytes | memoryview] = []
    end = 0
    stored: dict[str, npt.NDArray[np.generic]] = {}
    facts: dict[str, object] = {}
    for name, array in weights.items():
        narrow = narrowed(array, scales)
        if narrow is None:
            stored[name] = array
            continue
        facts[name] = narrow.facts
        stored.update({f"{name}{suffix}": part for suffix, part in narrow.tensors.items()})
    if facts:
        header[METADATA] = {NARROW: json.dumps(facts, separators=(",", ":"))}
    for index, (name, array) in enumerate(stored.items()):
        if array.dtype.name not in _DTYPE_CODES:
            raise ModelError(f"weights of dtype {array.dtype.name} cannot be stored; use float32")
        body.append(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        begin, end = end, end + array.nbytes
        header[name] = _entry(_DTYPE_CODES[array.dtype.name], array.shape, begin, end)
        if padding := -end % ALIGNMENT:
            body.append(bytes(padding))
            begin, end = end, end + padding
            header[f"{PADDING_PREFIX}{index}"] = _entry("U8", (padding,), begin, end)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(len(text) + _HEADER_LENGTH.size) % ALIGNMENT)
    return [_HEADER_LENGTH.pack(len(text)), text, *body]


def _entry(dtype: str, shape: tuple[int, ...], begin: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
