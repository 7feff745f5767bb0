"""Mutants of data to calibrate and to judge with."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from ingot.data.opening import open_dataset
from ingot.data.preprocessing import ImagePreprocessing
from tests.fuzz.forkserver import RAN
from tests.fuzz.mutation import changed_bytes

_GIB = 1 << 30
_HEADER_ENDS = 128
_SHAPES = (
    *("(4, 3, 16, 16)", "()", "(-1,)", f"({1 << 62},)", f"({1 << 31}, {1 << 31})", "(4,)"),
    *("((((", "(0, 3)", "(1.5,)", "'x'", "(4, 3, 16, 16, )" + " " * 40),
)
_TYPES = ("<f4", "|O", ">f8", "<U9999999", "|V0", "x", "<f16", "|S2147483647", "[('a', '<f4')]")


class DataFiles:
    """Arrays, images and tables, one file of which is changed."""

    memory = 2 * _GIB
    seconds = 30.0

    def __init__(self, folder: Path) -> None:
        random_ = np.random.default_rng(0)
        image = random_.random((4, 3, 16, 16)).astype(np.float32)
        self._images = ImagePreprocessing(height=16, width=16)
        buffers = {name: io.BytesIO() for name in ("a.npy", "a.npz", "p.npz", "i.png", "i.jpg")}
        np.save(buffers["a.npy"], image)
        np.savez(buffers["a.npz"], image=image, y=np.arange(4))
        np.savez_compressed(buffers["p.npz"], image=image, y=np.arange(4))
        pixels = Image.fromarray(random_.integers(0, 256, (20, 24, 3), np.uint8))
        pixels.save(buffers["i.png"], "PNG")
        pixels.save(buffers["i.jpg"], "JPEG")
        self._files = {name: buffer.getvalue() for name, buffer in buffers.items()}

    def judge(self, seed: int, folder: Path) -> str:
        dice = random.Random(seed)
        name = dice.choice(list(self._files))
        data = self._files[name]
        if name == "a.npy" and dice.random() < 0.5:
            data = _other_header(data, dice)
        elif name.endswith(".npz") and dice.random() < 0.5:
            data = self._other_members(dice)
        else:
            data = changed_bytes(data, dice)
        place = folder / "data"
        if name[0] == "i":
            place = place / "3" if dice.random() < 0.5 else place
            place.mkdir(parents=True)
            (place / "whole.png").write_bytes(self._files["i.png"])
        else:
            place.mkdir()
        (place / name).write_bytes(data)
        opened = folder / "data" if name[0] == "i" or dice.random() < 0.5 else place / name
        dataset = open_dataset(
            opened, self._images, ["image"], classes=10, ignore_labels=dice.random() < 0.5
        )
        for example in dataset:
            for array in (a for inputs in example.inputs for a in inputs.values()):
                assert isinstance(array, np.ndarray)
        if dataset.labelled:
            _ = list(dataset.labels)
        return RAN

    def _other_members(self, dice: random.Random) -> bytes:
        """An archive of arrays with a member of another kind, or of another name."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            for name in ("image.npy", "y.npy"):
                data = self._files["a.npy"]
                if dice.random() < 0.5:
                    data = _other_header(data, dice)
                other = dice.choice([name, "images.npy", "x.npy", "../x.npy", "a\nb.npy", "image"])
                archive.writestr(other, data)
        return buffer.getvalue()


def _other_header(data: bytes, dice: random.Random) -> bytes:
    """An array that claims another shape or type."""
    shape, kind = dice.choice(_SHAPES), dice.choice([*_TYPES, "<f4", "<f4"])
    described = kind if kind.startswith("[") else repr(kind)
    order = dice.choice([True, False, 3])
    text = f"{{'descr': {described}, 'fortran_order': {order}, 'shape': {shape}, }}"
    header = text.encode().ljust(_HEADER_ENDS - 11)[: _HEADER_ENDS - 11] + b"\n"
    return data[:10] + header + data[_HEADER_ENDS:]
