"""Mutants of models, in memory and as files with external data."""

from __future__ import annotations

import random
from pathlib import Path

import onnx

from ingot.compiler.ingest import ingest
from ingot.reference import session as reference_session
from tests.conftest import small_network
from tests.damaged_models import damaged_model
from tests.fuzz.forkserver import RAN
from tests.fuzz.mutation import changed_bytes

_GIB = 1 << 30
_DATA = "weights.bin"
_PLACES = (
    *("", ".", "..", "/etc/passwd", "../weights.bin", "weights.bin/", "/dev/zero", "x" * 5000),
    *("sub/../weights.bin", "\0", "weights.bin\0", "a\nb", "link", "fifo", "~/weights.bin", "é"),
)
_NUMBERS = ("0", "1", "-1", "63", "4096", "9" * 30, str(1 << 62), "x", "", "1.5", "0x10", " 1")


class DamagedModels:
    """Small models of each kind of operator, one to three things about them changed."""

    memory = 3 * _GIB
    seconds = 90.0

    def __init__(self, folder: Path) -> None:
        # Some loops never end.
        reference_session.LONGEST_SECONDS = 0.5  # type: ignore[misc]

    def judge(self, seed: int, folder: Path) -> str:
        ingest(damaged_model(seed))
        return RAN


class ModelFiles:
    """A model's file, or what it says of the file of its weights, is changed."""

    memory = 3 * _GIB
    seconds = 90.0

    def __init__(self, folder: Path) -> None:
        whole = folder / "whole.onnx"
        onnx.save(
            small_network(1), whole,
            save_as_external_data=True, location=_DATA, size_threshold=0, convert_attribute=False,
        )  # fmt: skip
        self._model = whole.read_bytes()
        self._data = (folder / _DATA).read_bytes()

    def judge(self, seed: int, folder: Path) -> str:
        dice = random.Random(seed)
        data = self._data if dice.random() < 0.9 else changed_bytes(self._data, dice)
        (folder / _DATA).write_bytes(data)
        (folder / "link").symlink_to("/etc/passwd")
        model = self._model
        if dice.random() < 0.6:
            proto = onnx.ModelProto.FromString(model)
            tensor = dice.choice(proto.graph.initializer)
            self._change_place(tensor, dice)
            model = proto.SerializeToString()
        else:
            model = changed_bytes(model, dice)
        (folder / "mutant.onnx").write_bytes(model)
        ingest(folder / "mutant.onnx")
        return RAN

    @staticmethod
    def _change_place(tensor: onnx.TensorProto, dice: random.Random) -> None:
        entries = {entry.key: entry for entry in tensor.external_data}
        match dice.randrange(6):
            case 0:
                tensor.dims[:] = dice.choice([[1 << 40, 1 << 40], [-1], [], [*tensor.dims, 0]])
            case 1:
                tensor.data_type = dice.randrange(30)
            case 2:
                del tensor.external_data[dice.randrange(len(tensor.external_data))]
            case 3:
                tensor.external_data.add(key=dice.choice([*entries, "more"]), value="7")
            case 4 if "location" in entries:
                entries["location"].value = dice.choice(_PLACES)
            case _:
                dice.choice([*entries.values()]).value = dice.choice(_NUMBERS)
