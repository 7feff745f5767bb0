"""Weights beside a model's file: only regular files in its folder, and as much of them as there is.

Where a model says that its weights lie is checked before anything is opened: a device or a pipe
would block, and a path out of the folder is no model's to read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

import onnx
import onnx_ir as ir

from ingot.errors import ModelError
from ingot.onnx_graph.claims import attribute_tensors, tensor_bytes, tensors


def check_external_data(proto: onnx.ModelProto, path: Path | None, name: str) -> list[Path]:
    """Checks where a model's external data lies, without reading it.

    Args:
        proto: The model.
        path: Its file. Links are resolved: data may lie beside the file or beside what it links
            to. None for a model in memory, whose data lies in the current folder.
        name: What to call it in messages.

    Returns:
        The files.

    Raises:
        ModelError: A file is missing, no regular one, elsewhere, or ends before a weight does.
    """
    folder = Path() if path is None else path.parent
    allowed = [Path(os.path.realpath(folder))]
    if path is not None:
        allowed.append(Path(os.path.realpath(path)).parent)
    files: dict[Path, int] = {}
    for tensor in tensors(proto):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        file = _file(entries.get("location", ""), folder, allowed, tensor.name, name)
        if file not in files:
            files[file] = _size(file, name)
        begin = _number(entries.get("offset", "0"), tensor.name, name)
        needed = tensor_bytes(tensor, name)
        stated = _number(entries.get("length", str(needed)), tensor.name, name)
        if stated != needed:
            raise ModelError(
                f"{name} is damaged: weight {tensor.name!r} needs {needed:,} bytes by its "
                f"dimensions, and says that it has {stated:,} in {file}"
            )
        _check_end(begin + needed, files[file], file, tensor.name, name)
    return sorted(files)


def settle_external_data(proto: onnx.ModelProto, folder: Path) -> None:
    """Makes a checked model read its external data wherever it is read from, in place.

    Initializers name their files by the absolute path, links resolved; constants of nodes, which
    all else looks for in the message, are read into it.

    Args:
        proto: A model whose external data is checked.
        folder: Where its file lies.

    Raises:
        ModelError: A file cannot be read.
    """
    for tensor in attribute_tensors(proto):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _load(tensor, folder)
    for tensor in tensors(proto):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = os.path.realpath(folder / entry.value)


def _load(tensor: onnx.TensorProto, folder: Path) -> None:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    file = folder / entries["location"]
    try:
        with file.open("rb") as stream:
            stream.seek(int(entries.get("offset", "0")))
            tensor.raw_data = stream.read(tensor_bytes(tensor, str(file)))
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror or error}") from error
    tensor.ClearField("data_location")
    tensor.ClearField("external_data")


def check_opened_data(model: ir.Model, name: str) -> None:
    """Checks the files of external data that a model in memory has opened or will open.

    Raises:
        ModelError: A file is missing, no regular one, or ends before a weight does.
    """
    for weight, tensor in _external(model):
        size = _size(Path(tensor.path), name)
        _check_end((tensor.offset or 0) + tensor.nbytes, size, Path(tensor.path), weight, name)


def _external(model: ir.Model) -> Iterable[tuple[str, ir.ExternalTensor]]:
    for graph in model.graphs():
        for key, value in graph.initializers.items():
            if isinstance(value.const_value, ir.ExternalTensor):
                yield key, value.const_value


def _file(location: str, folder: Path, allowed: list[Path], weight: str, name: str) -> Path:
    file = folder / location
    inside = bool(location) and "\0" not in location and not Path(location).is_absolute()
    if inside:
        real = Path(os.path.realpath(file))
        inside = any(real.is_relative_to(one) for one in allowed)
    if not inside:
        raise ModelError(
            f"{name} keeps weight {weight!r} in {location!r}, which is not in the model's folder: "
            "move it there"
        )
    return file


def _size(file: Path, name: str) -> int:
    try:
        found = file.stat()
        if stat.S_ISREG(found.st_mode):
            with file.open("rb"):
                return found.st_size
        reason = "it is no regular file"
    except OSError as error:
        reason = error.strerror or str(error)
    raise ModelError(f"{name} keeps weights in {file}, which cannot be read: {reason}")


def _number(text: str, weight: str, name: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ModelError(
            f"{name} is damaged: weight {weight!r} lies at {text!r} of its file, which is no number"
        )
    return int(text[:_MOST_DIGITS])


# Python refuses to read numbers of thousands; none of so many is within a file.
_MOST_DIGITS = 30


def _check_end(end: int, size: int, file: Path, weight: str, name: str) -> None:
    if end > size:
        raise ModelError(
            f"{name} is damaged: weight {weight!r} ends at byte {end} of {file}, "
            f"which has {size}: the file is cut short"
        )
