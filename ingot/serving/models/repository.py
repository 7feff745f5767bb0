"""The models of a server by name and version; they come, go and are replaced while it runs."""

from __future__ import annotations

import dataclasses
import re
import threading
from collections.abc import Callable
from pathlib import Path

from ingot.errors import IngotError, UsageError
from ingot.serving.batching.queueing import Ticket
from ingot.serving.models.served_model import ServedModel
from ingot.serving.options import ModelOptions
from ingot.serving.requests import Cause, InferenceRequest, Outcome, RefusedError

_SUFFIX = ".ingot"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_FIRST_VERSION = "1"


@dataclasses.dataclass(frozen=True)
class Entry:
    """A version that there is, loaded or not.

    Attributes:
        name: The model's name.
        version: The version.
        path: Where the artifact lies.
        state: ``READY``, ``LOADING`` or ``UNAVAILABLE``.
        reason: Why it is not ready.
    """

    name: str
    version: str
    path: Path
    state: str
    reason: str = ""


class Repository:
    """All models, those loaded among them.

    May be used from several threads. Loading takes long: a server does it beside its event loop.
    """

    def __init__(
        self,
        options_of: Callable[[str], ModelOptions],
        artifacts: dict[str, Path] | None = None,
        folder: Path | None = None,
        drain: float | None = 30.0,
    ) -> None:
        """Loads nothing yet.

        Args:
            options_of: How a model of a name is served.
            artifacts: Artifacts by the names of their models.
            folder: A folder of models, looked through whenever something is loaded or listed.
            drain: Seconds that requests of a version which goes may take.
        """
        self._options_of = options_of
        self._artifacts = dict(artifacts or {})
        self._folder = folder
        self._drain = drain
        self._lock = threading.Lock()
        self._changing: dict[str, threading.Lock] = {}
        self._loaded: dict[str, dict[str, ServedModel]] = {}
        self._reasons: dict[tuple[str, str], str] = {}
        self._loading: set[tuple[str, str]] = set()

    def find(self, name: str, version: str = "") -> ServedModel:
        """Returns a loaded version; the latest if none is named.

        Raises:
            RefusedError: There is no such model or version, or it is not loaded.
        """
        versions = self._loaded.get(name)
        if versions:
            model = versions.get(version) if version else next(iter(versions.values()))
            if model is not None:
                return model
        found = self._found().get(name, {})
        said = f"model '{name}'" + (f" version {version}" if version else "")
        if not found or (version and version not in found):
            raise RefusedError(Cause.NOT_FOUND, f"there is no {said}")
        raise RefusedError(Cause.UNAVAILABLE, f"{said} is not loaded")

    def submit(
        self,
        name: str,
        version: str,
        request: InferenceRequest,
        answered: Callable[[Ticket, Outcome], None],
    ) -> tuple[ServedModel, Ticket]:
        """Lets a request wait at a version; the latest if none is named.

        Raises:
            RefusedError: It gets no result.
        """
        while True:
            model = self.find(name, version)
            try:
                return model, model.submit(request, answered)
            except RefusedError as refusal:
                # Replaced since it was found: the request goes to what came in its place.
                if refusal.cause is not Cause.UNAVAILABLE or self.find(name, version) is model:
                    raise

    def loaded(self) -> list[ServedModel]:
        """All loaded versions, of each model the latest first."""
        with self._lock:
            return [model for versions in self._loaded.values() for model in versions.values()]

    def versions(self, name: str) -> list[str]:
        """The loaded versions of a model, the latest first."""
        return list(self._loaded.get(name, {}))

    def index(self) -> list[Entry]:
        """All versions that there are."""
        entries = []
        for name, versions in sorted(self._found().items()):
            for version, path in versions.items():
                entries.append(self._entry(name, version, path))
        return entries

    def load(self, name: str) -> list[ServedModel]:
        """Loads all versions of a model anew, and lets what was loaded answer what it has.

        Requests go to the new versions as soon as all of them are loaded. If one cannot be, all
        stays as it was.

        Raises:
            RefusedError: There is no such model.
            IngotError: It cannot be loaded.
        """
        with self._change_of(name):
            paths = self._found().get(name)
            if not paths:
                raise RefusedError(Cause.NOT_FOUND, f"there is no model '{name}'")
            new: dict[str, ServedModel] = {}
            keys = {(name, version) for version in paths}
            self._loading |= keys
            try:
                for version, path in paths.items():
                    self._reasons.pop((name, version), None)
                    new[version] = ServedModel(name, version, path, self._options_of(name))
            except IngotError as error:
                self._reasons[name, version] = str(error)
                for model in new.values():
                    model.close()
                raise
            finally:
                self._loading -= keys
            with self._lock:
                old = self._loaded.get(name, {})
                self._loaded[name] = new
            for model in old.values():
                model.close(self._drain)
            return list(new.values())

    def unload(self, name: str) -> None:
        """Unloads a model; what waits is answered first.

        Raises:
            RefusedError: It is not loaded.
        """
        with self._change_of(name):
            with self._lock:
                old = self._loaded.pop(name, None)
            if old is None:
                raise RefusedError(Cause.NOT_FOUND, f"model '{name}' is not loaded")
            for version, model in old.items():
                self._reasons[name, version] = "unloaded"
                model.close(self._drain)

    def load_all(self) -> None:
        """Loads every model that there is.

        Raises:
            UsageError: There is none.
            IngotError: One cannot be loaded; names it.
        """
        names = sorted(self._found())
        if not names:
            raise UsageError("there is nothing to serve: give artifacts or a folder with some")
        for name in names:
            self.load(name)

    def close(self) -> None:
        """Answers what waits and unloads everything."""
        with self._lock:
            models = [model for versions in self._loaded.values() for model in versions.values()]
            self._loaded.clear()
        for model in models:
            model.close(self._drain)

    def _entry(self, name: str, version: str, path: Path) -> Entry:
        model = self._loaded.get(name, {}).get(version)
        if model is not None:
            trouble = model.trouble
            return Entry(name, version, path, "UNAVAILABLE" if trouble else "READY", trouble)
        if (name, version) in self._loading:
            return Entry(name, version, path, "LOADING")
        reason = self._reasons.get((name, version), "not loaded")
        return Entry(name, version, path, "UNAVAILABLE", reason)

    def _change_of(self, name: str) -> threading.Lock:
        with self._lock:
            return self._changing.setdefault(name, threading.Lock())

    def _found(self) -> dict[str, dict[str, Path]]:
        """All artifacts by model and version, the latest version first."""
        found = {name: {_FIRST_VERSION: path} for name, path in self._artifacts.items()}
        if self._folder is None:
            return found
        for path in sorted(self._folder.iterdir()) if self._folder.is_dir() else ():
            if path.suffix == _SUFFIX and path.is_file() and _NAME.fullmatch(path.stem):
                found.setdefault(path.stem, {_FIRST_VERSION: path})
            elif path.is_dir() and _NAME.fullmatch(path.name) and (versions := _versions(path)):
                found.setdefault(path.name, versions)
        return found


def _versions(folder: Path) -> dict[str, Path]:
    versions = {}
    numbered = [each for each in folder.iterdir() if each.name.isdecimal() and each.is_dir()]
    for each in sorted(numbered, key=lambda each: int(each.name), reverse=True):
        artifacts = sorted(each.glob(f"*{_SUFFIX}"))
        if artifacts:
            versions[each.name] = artifacts[0]
    return versions


def named_artifacts(given: tuple[str, ...]) -> dict[str, Path]:
    """Returns artifacts by name: ``NAME=FILE``, or a file under its own name.

    Raises:
        UsageError: Two have one name, or a name has characters that a URL would not show.
    """
    named: dict[str, Path] = {}
    for each in given:
        name, equals, file = each.partition("=")
        path = Path(file if equals else each)
        name = name if equals else path.stem
        if not _NAME.fullmatch(name):
            raise UsageError(f"'{name}' is no name for a model: say NAME={path}")
        if name in named:
            raise UsageError(f"two artifacts are called '{name}': say NAME={path} for one")
        named[name] = path
    return named
