"""Finds passes by name: Ingot's own groups, and those that other packages add.

Each folder ``ingot/passes/<group>`` exports ``PASSES``, its pass classes in default order. Another
package adds passes by an entry point in the group ``ingot.passes`` that loads one class or a tuple
of classes. A plain ``onnx_ir`` pass takes the entry point's name as its own. Any pass class that
can be imported can also be named as ``module:Class``, such as
``onnx_ir.passes.common:ShapeInferencePass``.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.metadata
import inspect
import pkgutil
from collections.abc import Iterable
from typing import Any, Protocol

import onnx_ir as ir
import pydantic

import ingot.passes
from ingot.errors import IngotError, UsageError, first_line
from ingot.passes.base import IngotPass

ENTRY_POINT_GROUP = "ingot.passes"

PassClass = type[ir.passes.PassBase]


class PassSpec(pydantic.BaseModel):
    """A pass, or a whole group, as a recipe names it.

    Attributes:
        name: ``group.name``; ``group`` for all of the group's passes in default order; or
            ``module:Class`` for a pass that is not registered.
        options: The pass's options by name; a group takes none.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    name: str
    options: dict[str, Any] = {}


class EntryPoint(Protocol):
    """The part of :class:`importlib.metadata.EntryPoint` that the registry uses."""

    @property
    def name(self) -> str:
        """The name under which the object is offered."""
        ...

    @property
    def value(self) -> str:
        """Where the object is: ``module:attribute``."""
        ...

    def load(self) -> Any:
        """Imports the object."""
        ...


class Registry:
    """Passes by name, in default order.

    Args:
        entry_points: Third parties' passes; by default those of the installed packages.

    Raises:
        IngotError: An entry point cannot be loaded, is no pass, or takes a name that is taken.
    """

    def __init__(self, entry_points: Iterable[EntryPoint] | None = None) -> None:
        self._classes: dict[str, PassClass] = {}
        self._origins: dict[str, str] = {}
        for module in pkgutil.iter_modules(ingot.passes.__path__, "ingot.passes."):
            if module.ispkg:
                for cls in importlib.import_module(module.name).PASSES:
                    self.add(cls.name, cls, origin=module.name)
        if entry_points is None:
            entry_points = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
        for point in entry_points:
            self._add_entry_point(point)

    def add(self, name: str, cls: PassClass, *, origin: str) -> None:
        """Adds a pass.

        Args:
            name: How recipes name it.
            cls: The pass.
            origin: Where it comes from, for messages.

        Raises:
            IngotError: The name is taken; names both origins.
        """
        if name in self._classes:
            raise IngotError(
                f"two passes are named '{name}': one of {self._origins[name]}, one of {origin}; "
                "rename or uninstall one of them"
            )
        self._classes[name] = cls
        self._origins[name] = origin

    def available(self) -> dict[str, PassClass]:
        """All passes by name: Ingot's groups first, each in its default order."""
        return dict(self._classes)

    def origin(self, name: str) -> str:
        """Where an available pass comes from: a module, or an entry point."""
        return self._origins[name]

    def create(self, spec: PassSpec) -> list[ir.passes.PassBase]:
        """Makes the pass that a spec names, or all of a group's.

        Raises:
            UsageError: An unknown name or option, with the nearest valid one, or a value that
                does not fit the option's type.
        """
        if spec.name in self._classes:
            return [_instantiate(spec.name, self._classes[spec.name], spec.options)]
        if ":" in spec.name:
            return [_instantiate(spec.name, _import_class(spec.name), spec.options)]
        members = [
            name
            for name, cls in self._classes.items()
            if name.startswith(f"{spec.name}.") and not getattr(cls, "by_name_only", False)
        ]
        if not members:
            groups = {name.rpartition(".")[0] for name in self._classes if "." in name}
            raise UsageError(
                f"unknown pass '{spec.name}'{_nearest(spec.name, [*self._classes, *groups])}; "
                "'ingot passes' lists them all"
            )
        if spec.options:
            raise UsageError(
                f"'{spec.name}' is a group of passes and takes no options; "
                f"give them to one of its passes, such as '{members[0]}'"
            )
        return [_instantiate(name, self._classes[name], {}) for name in members]

    def _add_entry_point(self, point: EntryPoint) -> None:
        origin = f"the entry point {point.name} = {point.value}"
        try:
            loaded = point.load()
        except Exception as error:
            raise IngotError(
                f"{origin} cannot be loaded: {type(error).__name__}: {error}; "
                "fix or uninstall the package that offers it"
            ) from error
        classes = loaded if isinstance(loaded, (tuple, list)) else (loaded,)
        for cls in classes:
            if not (isinstance(cls, type) and issubclass(cls, ir.passes.PassBase)):
                raise IngotError(f"{origin} gives {cls!r}, which is no onnx_ir pass class")
            if not issubclass(cls, IngotPass) and len(classes) > 1:
                raise IngotError(
                    f"{origin} gives {cls.__name__}, which declares no name; "
                    "derive it from IngotPass or offer it as an entry point of its own"
                )
            self.add(cls.name if issubclass(cls, IngotPass) else point.name, cls, origin=origin)


@functools.cache
def default_registry() -> Registry:
    """The registry of Ingot's own and all installed passes, made once per process."""
    return Registry()


def available() -> dict[str, PassClass]:
    """All passes of the default registry by name."""
    return default_registry().available()


def create(spec: PassSpec) -> list[ir.passes.PassBase]:
    """Makes the passes that a spec names from the default registry; see :meth:`Registry.create`."""
    return default_registry().create(spec)


def _import_class(path: str) -> PassClass:
    module, _, attribute = path.partition(":")
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:
        # A module runs when it is imported, and may raise whatever it likes.
        raise UsageError(
            f"cannot import the pass '{path}': {first_line(error)} ({type(error).__name__})"
        ) from error
    if not (isinstance(cls, type) and issubclass(cls, ir.passes.PassBase)):
        raise UsageError(f"'{path}' is no onnx_ir pass class")
    return cls


def _instantiate(name: str, cls: PassClass, options: dict[str, Any]) -> ir.passes.PassBase:
    if issubclass(cls, IngotPass):
        _refuse_unknown(name, options, list(cls.options_type.model_fields))
        try:
            return cls(cls.options_type.model_validate(options))
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UsageError(
                f"pass '{name}', option '{where}': {first['msg'].lower()}, got {first['input']!r}"
            ) from error
    _refuse_unknown(name, options, list(inspect.signature(cls).parameters))
    try:
        return cls(**options)
    except (TypeError, ValueError) as error:
        raise UsageError(f"pass '{name}' refuses its options: {error}") from error


def _refuse_unknown(name: str, options: dict[str, Any], known: list[str]) -> None:
    for option in options:
        if option not in known:
            listed = ", ".join(known) or "none"
            raise UsageError(
                f"pass '{name}' has no option '{option}'{_nearest(option, known)}; it has: {listed}"
            )


def _nearest(word: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean '{matches[0]}'?" if matches else ""
