"""The files of a data set: each once, and nothing but regular files."""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ingot.data import open_dataset
from ingot.data.images import decode_image
from ingot.data.preprocessing import ImagePreprocessing, TextPreprocessing
from ingot.errors import DataError

SMALL = ImagePreprocessing(height=4, width=4)
TEXT = TextPreprocessing(tokenizer="none")


def save_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4, 3), 7, np.uint8)).save(path)
    return path


def names(dataset):
    return [example.name for example in dataset]


def test_links_to_folders_above_are_followed_once(tmp_path):
    folder = tmp_path / "d"
    save_image(folder / "a.png")
    save_image(folder / "deep" / "b.png")
    for link in ("deep/up", "deep/up_again", "here"):
        (folder / link).symlink_to(folder, target_is_directory=True)
    dataset = open_dataset(folder, SMALL, ["x"], ignore_labels=True)
    assert names(dataset) == ["a.png", "deep/b.png"]


def test_a_folder_named_like_an_image_is_a_folder(tmp_path):
    save_image(tmp_path / "x.jpg" / "a.png")
    assert names(open_dataset(tmp_path, SMALL, ["x"], ignore_labels=True)) == ["x.jpg/a.png"]


def pipe(path):
    os.mkfifo(path)


def link_to_device(path):
    path.symlink_to("/dev/zero")


def link_to_itself(path):
    path.symlink_to(path)


def link_to_nothing(path):
    path.symlink_to(path.with_name("absent"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (pipe, "is no regular file"),
        (link_to_device, "is no regular file"),
        (link_to_itself, "cannot be read: Too many levels"),
        (link_to_nothing, "cannot be read: No such file"),
    ],
)
@pytest.mark.parametrize(
    "name", ["d/x.png", "d/0/x.png", "d/x.npy", "x.npz", "x.csv", "x.txt", "d"]
)
@pytest.mark.parametrize("ignore_labels", [False, True])
def test_what_is_no_regular_file_is_refused_before_it_is_read(
    tmp_path, make, message, name, ignore_labels
):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    make(path)
    preprocessing = TEXT if path.suffix in {".csv", ".txt"} else SMALL
    opened = tmp_path / name.split("/", maxsplit=1)[0]
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(opened, preprocessing, ["x"], ignore_labels=ignore_labels)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_may_not_be_read_is_named(tmp_path):
    save_image(tmp_path / "d" / "a.png")
    (tmp_path / "d").chmod(0)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        open_dataset(tmp_path / "d", SMALL, ["x"], ignore_labels=True)


def test_a_file_that_goes_away_is_named(tmp_path):
    path = save_image(tmp_path / "a.png")
    dataset = open_dataset(tmp_path, SMALL, ["x"])
    path.unlink()
    with pytest.raises(DataError, match=r"a\.png cannot be read: No such file"):
        _ = dataset.digest


def test_a_path_that_is_too_long_is_told(tmp_path):
    with pytest.raises(DataError, match="no data at"):
        open_dataset(tmp_path / ("x" * 300), SMALL, ["x"])


def chunk(kind, content):
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def png(width, height, content=b""):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(content))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(12_000, 12_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
def test_an_image_that_would_fill_the_memory_is_refused_unread(tmp_path, size):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(*size))
    with pytest.raises(DataError, match=r"bomb\.png cannot be decoded"):
        decode_image(path, str(path))


def test_an_image_that_a_resize_would_blow_up_is_refused(tmp_path):
    Image.new("RGB", (1, 60_000)).save(tmp_path / "long.png")
    resizing = ImagePreprocessing(height=224, width=224, resize_short_side=256)
    dataset = open_dataset(tmp_path, resizing, ["x"])
    with pytest.raises(DataError, match=r"long\.png: .* 1x60000 pixels is too long to be resized"):
        _ = dataset[0]


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".npy", ".npz"])
def test_damage_anywhere_is_our_error_or_data(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    x = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
    if suffix == ".npy":
        np.save(path, x)
    elif suffix == ".npz":
        np.savez_compressed(path, x=x)
    else:
        Image.fromarray(x[0]).save(path)
    intact = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(intact)
        for position in rng.integers(0, len(damaged), rng.integers(1, 8)):
            damaged[position] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(1, len(damaged) + 1)])
        try:
            dataset = open_dataset(tmp_path, SMALL, ["x"], ignore_labels=True)
            _ = dataset.digest, dataset[0]
        except DataError as error:
            assert "\n" not in str(error)
