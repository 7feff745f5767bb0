"""``ingot passes``: what can stand in a recipe."""

from __future__ import annotations

import inspect
import json
from typing import Annotated, Any

import onnx_ir as ir
import pydantic
import typer
from rich.text import Text

from ingot.cli.text import PlainConsole
from ingot.passes.base import FLOAT_ROUNDING, IngotPass, Tolerance, ToleranceKind
from ingot.passes.registry import default_registry


class OptionFacts(pydantic.BaseModel):
    """One option of a pass, as ``--json`` prints it."""

    name: str
    type: str
    default: Any
    description: str


class PassFacts(pydantic.BaseModel):
    """One pass, as ``--json`` prints it."""

    name: str
    summary: str
    tolerance: ToleranceKind
    rtol: float
    atol: float
    origin: str
    options: list[OptionFacts]


def passes(
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the passes, with their tolerances and options.

    A recipe names passes one by one, or by group: `fusion` stands for all passes of that group.

    Example: `ingot passes`
    """
    registry = default_registry()
    facts = [_facts(name, cls, registry.origin(name)) for name, cls in registry.available().items()]
    if as_json:
        typer.echo(json.dumps([fact.model_dump(mode="json") for fact in facts], indent=2))
        return
    console = PlainConsole()
    for fact in facts:
        console.print(Text.assemble((fact.name, "bold"), f": {fact.summary}"), soft_wrap=True)
        console.print(f"    outputs may differ by {_allowed(fact)}")
        for option in fact.options:
            text = f"{option.name}: {option.type} = {option.default!r}  {option.description}"
            console.print(f"    option {text}", soft_wrap=True)


def _facts(name: str, cls: type[ir.passes.PassBase], origin: str) -> PassFacts:
    if issubclass(cls, IngotPass):
        summary, tolerance, options = cls.summary, cls.tolerance, _declared_options(cls)
    else:
        summary = (inspect.getdoc(cls) or "").split("\n", 1)[0]
        tolerance, options = FLOAT_ROUNDING, _constructor_options(cls)
    return PassFacts(
        name=name,
        summary=summary,
        tolerance=tolerance.kind,
        rtol=tolerance.rtol,
        atol=tolerance.atol,
        origin=origin,
        options=options,
    )


def _declared_options(cls: type[IngotPass[Any]]) -> list[OptionFacts]:
    return [
        OptionFacts(
            name=name,
            type=_type_name(field.annotation),
            default=None if field.is_required() else field.get_default(call_default_factory=True),
            description=field.description or "",
        )
        for name, field in cls.options_type.model_fields.items()
    ]


def _constructor_options(cls: type[ir.passes.PassBase]) -> list[OptionFacts]:
    return [
        OptionFacts(
            name=name,
            type=_type_name(parameter.annotation),
            default=None if parameter.default is parameter.empty else parameter.default,
            description="",
        )
        for name, parameter in inspect.signature(cls).parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


def _type_name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _allowed(fact: PassFacts) -> str:
    tolerance = Tolerance(fact.tolerance, fact.rtol, fact.atol)
    if tolerance.kind is ToleranceKind.FLOAT_ROUNDING:
        return f"float rounding ({tolerance.rtol:g} of their scale)"
    return "nothing" if tolerance.kind is ToleranceKind.EXACT else "what the accuracy allows"
