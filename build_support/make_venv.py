"""Makes a virtual environment with pip on any Python >= 3.10, the standard library alone at hand.

Debian and Ubuntu ship ``python3`` without ``ensurepip``; then pip comes as a wheel from the
package index (``PIP_INDEX_URL``, or PyPI), its digest checked, and installs itself.

Usage: python3 build_support/make_venv.py FOLDER
"""

from __future__ import annotations

import hashlib
import html.parser
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
import venv
from pathlib import Path

_OLDEST = (3, 10)
_INDEX = "https://pypi.org/simple"
_TIMEOUT = 60
_WHEEL = re.compile(r"pip-(\d+(?:\.\d+)*)-py3-none-any\.whl$")


class _Links(html.parser.HTMLParser):
    """Collects the links of a simple index page (PEP 503)."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keeps the link of an anchor that is neither yanked nor for a newer Python."""
        values = dict(attrs)
        if tag == "a" and values.get("href") and "data-yanked" not in values:
            self.links.append(values["href"] or "")


def _newest_pip(index: str) -> tuple[str, str, str]:
    """Returns the address, file name and SHA-256 of the newest pip wheel of an index."""
    page_address = f"{index.rstrip('/')}/pip/"
    request = urllib.request.Request(page_address, headers={"Accept": "text/html"})
    with urllib.request.urlopen(request, timeout=_TIMEOUT) as page:
        parser = _Links()
        parser.feed(page.read().decode())
    found = []
    for link in parser.links:
        address, fragment = urllib.parse.urldefrag(urllib.parse.urljoin(page_address, link))
        name = urllib.parse.unquote(address.rsplit("/", 1)[-1])
        match = _WHEEL.match(name)
        if match and fragment.startswith("sha256="):
            version = tuple(map(int, match.group(1).split(".")))
            found.append((version, address, name, fragment.removeprefix("sha256=")))
    if not found:
        raise SystemExit(f"{page_address} lists no pip wheel with a SHA-256; set PIP_INDEX_URL")
    return max(found)[1:]


def _install_pip(python: Path) -> None:
    address, name, sha256 = _newest_pip(os.environ.get("PIP_INDEX_URL", _INDEX))
    with urllib.request.urlopen(address, timeout=_TIMEOUT) as response:
        data = response.read()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise SystemExit(f"{address} does not have the digest that its index states; try again")
    with tempfile.TemporaryDirectory() as folder:
        wheel = Path(folder) / name
        wheel.write_bytes(data)
        command = [str(python), f"{wheel}/pip", "install", "--quiet", "--no-index", str(wheel)]
        subprocess.run(command, check=True)


def main() -> None:
    """Makes the environment that the command line names."""
    if sys.version_info < _OLDEST:
        wanted = ".".join(map(str, _OLDEST))
        raise SystemExit(f"Ingot needs Python {wanted} or newer, this is {sys.version.split()[0]}")
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    folder = Path(sys.argv[1])
    with_pip = importlib.util.find_spec("ensurepip") is not None
    venv.create(folder, with_pip=with_pip, clear=True, symlinks=True)
    if not with_pip:
        try:
            _install_pip(folder / "bin" / "python")
        except OSError as error:
            raise SystemExit(f"cannot fetch pip: {error}; install python3-venv instead") from error


if __name__ == "__main__":
    main()
