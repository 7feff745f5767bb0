"""Files in the cache appear whole or not at all."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ingot.errors import IngotError, UsageError
from ingot.files import (
    atomic_file,
    cache_dir,
    replacing,
    require_writable,
    require_writable_in,
    scratch_folder,
    temporary_file,
    temporary_folder,
    temporary_place,
)


def test_the_cache_is_the_users_unless_a_variable_moves_it(monkeypatch, tmp_path):
    monkeypatch.delenv("INGOT_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "ingot"

    monkeypatch.setenv("INGOT_CACHE_DIR", str(tmp_path / "mine"))
    assert cache_dir() == tmp_path / "mine"


def test_a_user_without_a_home_has_a_cache_that_goes_with_the_process(monkeypatch, tmp_path):
    def in_no_list(_):
        raise KeyError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pwd.getpwuid", in_no_list)
    for name in ("INGOT_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)

    with replacing(cache_dir() / "entry") as temporary:
        temporary.write_bytes(b"kept")

    assert (cache_dir() / "entry").read_bytes() == b"kept"
    assert list(tmp_path.iterdir()) == []


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


WRITERS = [atomic_file, replacing]


def write(writer, path: Path) -> None:
    with writer(path) as place:
        place.write_bytes(b"new") if isinstance(place, Path) else place.write(b"new")


@pytest.mark.parametrize("writer", WRITERS)
def test_only_regular_files_are_replaced(tmp_path, writer):
    fifo, folder = tmp_path / "fifo", tmp_path / "folder"
    os.mkfifo(fifo)
    folder.mkdir()
    for place in (fifo, folder, Path("/dev/null")):
        with pytest.raises(IngotError, match="no regular file|is a folder"):
            write(writer, place)
        with pytest.raises(UsageError, match="no regular file|is a folder"):
            require_writable(place)
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


@pytest.mark.parametrize("writer", WRITERS)
def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path, writer):
    (tmp_path / "there").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "there" / "file")

    write(writer, link)

    assert link.is_symlink()
    assert (tmp_path / "there" / "file").read_bytes() == b"new"


@pytest.mark.parametrize("writer", WRITERS)
def test_any_name_that_a_file_can_have_will_do(tmp_path, writer):
    path = tmp_path / ("é" * 127)
    require_writable(path)
    write(writer, path)
    assert path.read_bytes() == b"new"


def test_an_input_is_no_output_by_whatever_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = tmp_path / "model.onnx"
    model.write_bytes(b"model")
    (tmp_path / "hard.onnx").hardlink_to(model)
    (tmp_path / "soft.onnx").symlink_to(model)
    data = tmp_path / "data"
    data.mkdir()
    (data / "0.npy").write_bytes(b"array")

    for output in (model, Path("model.onnx"), Path("data/../hard.onnx"), tmp_path / "soft.onnx"):
        with pytest.raises(UsageError, match="which is read"):
            require_writable(output, inputs=[None, tmp_path / "none", model])
    with pytest.raises(UsageError, match=r"is a file in .*data, which is read"):
        require_writable(data / "0.npy", inputs=[data])
    require_writable(data / "new.npy", inputs=[data])
    (data / "old.ingot").write_bytes(b"made beside the data")
    require_writable(data / "old.ingot", inputs=[data])


@pytest.mark.parametrize(
    ("place", "reason"),
    [("x" * 300, "name too long"), ("none/file", "does not exist"), ("a\0b", "null")],
)
def test_a_place_that_cannot_be_written_to_is_found_before_the_work(tmp_path, place, reason):
    with pytest.raises(UsageError, match=f"(?i){reason}") as raised:
        require_writable(tmp_path / place)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize("writer", WRITERS)
def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path, writer):
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from ingot.files import atomic_file, scratch_folder\n"
        "path = Path(sys.argv[1])\n"
        "with atomic_file(path) as file, scratch_folder(path.parent) as folder:\n"
        "    (folder / 'trial').write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "model.ingot"
    subprocess.run([sys.executable, "-c", code, path], check=False)
    left = list(tmp_path.iterdir())
    assert len(left) == 2
    with scratch_folder(tmp_path) as alive:
        write(writer, path)
        assert set(tmp_path.iterdir()) == {path, alive, *left}, "they may be a moment old"
        for one in (*left, alive):
            os.utime(one, (0, 0))
        write(writer, path)
        assert set(tmp_path.iterdir()) == {path, alive}


def test_names_of_files_in_a_folder_are_checked_with_it(tmp_path):
    require_writable_in(tmp_path / "new" / "deep", ["a", "b"])
    assert not (tmp_path / "new").exists()
    for folder, name in (("n" * 300, "a"), ("new", "a" * 300)):
        with pytest.raises(UsageError, match="name too long"):
            require_writable_in(tmp_path / folder, [name])
    (tmp_path / "old" / "b").mkdir(parents=True)
    with pytest.raises(UsageError, match="b is a folder"):
        require_writable_in(tmp_path / "old", ["a", "b"])
    with pytest.raises(UsageError, match="output folder /dev/null/x cannot be written"):
        require_writable_in(Path("/dev/null/x"), ["a"])


def test_temporary_files_go_with_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert temporary_place() == tmp_path
    with temporary_folder() as folder, temporary_file() as file:
        (folder / "more").write_bytes(b"x")
        file.write(b"x")
        assert list(tmp_path.iterdir()) == [folder]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", ["none", "missing"])
def test_without_a_place_for_temporary_files_there_is_one_line(tmp_path, monkeypatch, fault):
    monkeypatch.setattr("tempfile.tempdir", None if fault == "none" else str(tmp_path / "gone"))
    monkeypatch.setattr("tempfile._candidate_tempdir_list", list)
    for make in (temporary_file, lambda: temporary_folder().__enter__()):
        with pytest.raises(IngotError, match="no temporary file can be made: .*set TMPDIR"):
            make()
