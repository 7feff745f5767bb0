"""Archives are read as they are written, by whatever writes them well, and refused if damaged."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable

import pytest

from ingot.runtime import archive
from ingot.runtime.archive import DamagedArchiveError, Entry, read_entries

CONTENT = {"manifest.json": b"{}" * 500, "lib.so": bytes(range(256)) * 9, "none": b""}


def written(compression: int = zipfile.ZIP_DEFLATED, content: dict[str, bytes] = CONTENT) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in content.items():
            file.writestr(name, data)
    return buffer.getvalue()


def reading(data: bytes) -> archive.Read:
    return lambda offset, length: data[offset : offset + length]


def entries_of(data: bytes) -> dict[str, Entry]:
    return read_entries(reading(data), len(data))


def contents(data: bytes) -> dict[str, bytes]:
    return {name: entry.read_checked(reading(data)) for name, entry in entries_of(data).items()}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_what_was_written(compression: int) -> None:
    assert contents(written(compression)) == CONTENT


def test_archives_with_numbers_of_64_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    data = written()
    assert b"PK\6\6" in data
    assert contents(data) == CONTENT


def test_an_archive_that_was_written_to_a_pipe() -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError

        def seek(self, *_: int) -> int:
            raise OSError

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in CONTENT.items():
            file.writestr(name, data)
    assert contents(pipe.getvalue()) == CONTENT


def test_what_deflate_holds_back_comes_with_the_last_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_CHUNK", 7)
    assert contents(written(content={"zeros": bytes(10_000)})) == {"zeros": bytes(10_000)}


def at_central(field: int, value: bytes) -> Callable[[bytes], bytes]:
    """Overwrites a field of the second member's entry in the directory."""

    def change(data: bytes) -> bytes:
        begin = data.index(b"PK\1\2", data.index(b"PK\1\2") + 1) + field
        return data[:begin] + value + data[begin + len(value) :]

    return change


def at_end(field: int, value: bytes) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        begin = data.rindex(b"PK\5\6") + field
        return data[:begin] + value + data[begin + len(value) :]

    return change


def twice(data: bytes) -> bytes:
    del data
    return written(content={"aa": b"1", "bb": b"2"}).replace(b"bb", b"aa")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: b"1" + data, "directory is not where it should be"),
        (lambda data: data + b"1", "does not end as an archive does"),
        (lambda data: data[:-1], "does not end as an archive does"),
        (lambda data: data[:10], "too short"),
        (lambda data: b"", "too short"),
        (twice, "is there twice"),
        (at_central(8, struct.pack("<H", 1)), "lib.so is encrypted"),
        (at_central(10, struct.pack("<H", 99)), "compressed by an unknown method"),
        (at_central(10, struct.pack("<H", 0)), "stored in another size"),
        (at_central(24, struct.pack("<I", (1 << 32) - 2)), "claims 4294967294 bytes"),
        (at_central(24, struct.pack("<I", 2305)), "lib.so is cut short"),
        (at_central(24, struct.pack("<I", 2303)), "lib.so is longer than it says"),
        (at_central(20, struct.pack("<I", (1 << 32) - 1)), "has no sizes"),
        (at_central(20, struct.pack("<I", 1 << 30)), "outside of the file"),
        (at_central(28, struct.pack("<H", 60000)), "directory is damaged"),
        (at_central(34, struct.pack("<H", 1)), "one part of several"),
        (at_central(42, struct.pack("<I", 0)), "not where the directory says"),
        (at_central(42, struct.pack("<I", 1 << 31)), "outside of the file"),
        (at_central(46, b"lib\nso"), r"member name b'lib\\nso' is no name"),
        (at_central(46, b"lib.\xff\xfe"), "is no name"),
        (at_end(4, struct.pack("<H", 1)), "one part of several"),
        (at_end(8, struct.pack("<HH", 2, 2)), "holds more than it says"),
        (at_end(8, struct.pack("<HH", 4, 4)), "its directory states 4"),
        (at_end(8, struct.pack("<HH", 60000, 60000)), "states 60000 members"),
        (at_end(12, struct.pack("<I", (1 << 32) - 1)), "directory states 3 members"),
    ],
)
def test_damage_is_refused_with_its_place(change: Callable[[bytes], bytes], message: str) -> None:
    with pytest.raises(DamagedArchiveError, match=message) as error:
        contents(change(written()))
    assert "\n" not in str(error.value)


def test_a_member_within_another_is_refused() -> None:
    inner = written(zipfile.ZIP_STORED, {"inner": b"1"})
    outer = written(zipfile.ZIP_STORED, {"outer": inner, "inner": b"1"})
    place = struct.pack("<I", outer.index(inner))
    last = outer.rindex(b"PK\1\2")
    with pytest.raises(DamagedArchiveError, match="lies within another one"):
        entries_of(outer[: last + 42] + place + outer[last + 46 :])


def test_a_member_that_inflates_to_far_more_than_any_is_refused_before_it_does() -> None:
    bomb = written(content={"manifest.json": bytes(archive._ANY_RATIO_UP_TO + 1)})
    with pytest.raises(DamagedArchiveError, match="claims 67108865 bytes, compressed to"):
        entries_of(bomb)
