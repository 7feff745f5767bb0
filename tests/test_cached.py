"""What is cached is what was stored under that name, or is refused."""

import os

import pytest

from ingot.cached import DamagedCacheError, check_seal, read_entry, seal, write_entry


def test_an_entry_comes_back_and_none_is_none(tmp_path):
    path = tmp_path / "new" / "entry"
    assert read_entry(path) is None
    for content in (b"", b"\n", b"content"):
        write_entry(path, content)
        assert read_entry(path) == content


@pytest.mark.parametrize("position", [0, 20, 78, 79, -1])
def test_a_changed_byte_is_told(tmp_path, position):
    path = tmp_path / "entry"
    write_entry(path, b"content")
    stored = bytearray(path.read_bytes())
    stored[position] ^= 1
    path.write_bytes(stored)
    with pytest.raises(DamagedCacheError, match="entry is damaged"):
        read_entry(path)


@pytest.mark.parametrize("length", [0, 10, 79, 80])
def test_an_entry_that_is_cut_short_is_told(tmp_path, length):
    path = tmp_path / "entry"
    write_entry(path, b"content")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DamagedCacheError, match="is damaged"):
        read_entry(path)


def test_an_entry_under_another_name_is_told(tmp_path):
    write_entry(tmp_path / "one", b"content")
    (tmp_path / "one").rename(tmp_path / "other")
    with pytest.raises(DamagedCacheError, match="other is damaged"):
        read_entry(tmp_path / "other")


def test_what_is_no_file_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(DamagedCacheError, match="is no file"):
            read_entry(path)


def test_sealed_files_are_intact_together(tmp_path):
    files = [tmp_path / "model", tmp_path / "tokenizer"]
    for file in files:
        file.write_text(file.name)
    with pytest.raises(DamagedCacheError, match="nothing says what .*model is to hold"):
        check_seal(files)
    seal(files)
    check_seal(files)
    files[1].write_text("other")
    with pytest.raises(DamagedCacheError, match="tokenizer is damaged"):
        check_seal(files)
    files[1].unlink()
    with pytest.raises(DamagedCacheError, match="tokenizer cannot be read: No such file"):
        check_seal(files)
