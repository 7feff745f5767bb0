"""Files in the cache appear whole or not at all."""

import errno
from pathlib import Path

import pytest

from ingot.errors import IngotError
from ingot.files import cache_dir, replacing


def test_the_cache_is_the_users_unless_a_variable_moves_it(monkeypatch, tmp_path):
    monkeypatch.delenv("INGOT_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "ingot"

    monkeypatch.setenv("INGOT_CACHE_DIR", str(tmp_path / "mine"))
    assert cache_dir() == tmp_path / "mine"


def test_a_file_is_there_when_the_block_is_done_and_not_before(tmp_path):
    path = tmp_path / "new" / "model.onnx"

    with replacing(path) as temporary:
        temporary.write_bytes(b"half")
        assert not path.exists()
        temporary.write_bytes(b"whole")

    assert path.read_bytes() == b"whole"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), RuntimeError("no"), IngotError("x")])
def test_whatever_ends_the_block_leaves_the_old_file_and_no_other(tmp_path, interruption):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")

    with pytest.raises(type(interruption)), replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise interruption

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_clear_line(tmp_path):
    path = tmp_path / "model.onnx"

    message = r"cannot write .*model\.onnx: No space left"
    with pytest.raises(IngotError, match=message) as raised, replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    assert "\n" not in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_named(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")

    with pytest.raises(IngotError, match="cannot write"), replacing(blocker / "x.onnx"):
        raise AssertionError("there is no such folder")
    assert Path(blocker).is_file()
