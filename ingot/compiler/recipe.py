"""Recipes: what to do to a model, as a small TOML or YAML file or as keyword arguments."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import pydantic
import yaml

from ingot.errors import UsageError
from ingot.passes.registry import PassSpec
from ingot.toml_tables import parse_toml

_MOST_BYTES = 1 << 20
_MOST_VALUES = 100_000


Precision = Literal["fp32", "int8", "bf16", "fp16"]


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class VerifyOptions(_Section):
    """How the result is held to the reference.

    Attributes:
        enabled: Whether outputs are compared after each pass and after the build.
        seed: Seed of the random reference inputs.
        rtol: Largest difference between the compiled model and the reference, as a part of the
            output's largest magnitude.
        data: Where real inputs lie that outputs are compared on, before random ones.
    """

    enabled: bool = True
    seed: int = pydantic.Field(default=0, ge=0)
    data: str | None = None
    rtol: float = pydantic.Field(default=1e-4, gt=0)


class CalibrationOptions(_Section):
    """What quantization is calibrated with.

    Attributes:
        data: Where the data lies: a folder of images, arrays, or sentences.
        limit: The most examples to use, spread evenly over the data.
    """

    data: str | None = None
    limit: int | None = pydantic.Field(default=None, gt=0)


class PruneOptions(_Section):
    """What is pruned.

    Attributes:
        ratio: Part of the model's parameters that goes with whole channels.
        multiple: What the number of channels left in a group is a multiple of.
        pattern: N:M, such as ``2:4``: so many of so many input channels stay, the others are zero.
    """

    ratio: float | None = pydantic.Field(default=None, gt=0, lt=1)
    multiple: int = pydantic.Field(default=8, gt=0)
    pattern: str | None = pydantic.Field(default=None, pattern=r"^[1-9][0-9]*:[1-9][0-9]*$")

    @pydantic.model_validator(mode="after")
    def _something(self) -> PruneOptions:
        if self.ratio is None and self.pattern is None:
            raise ValueError("give a ratio, a pattern, or both")
        return self

    @classmethod
    def parse(cls, text: str) -> PruneOptions:
        """Reads a ratio or a pattern: ``0.1``, ``2:4``.

        Raises:
            UsageError: It is neither.
        """
        key = "pattern" if ":" in text else "ratio"
        try:
            return cls.model_validate({key: text})
        except pydantic.ValidationError as error:
            raise UsageError(
                f"what to prune is a part of the parameters between 0 and 1, or N:M, not {text!r}"
            ) from error

    @property
    def passes(self) -> tuple[PassSpec, ...]:
        """The passes that do this: whole channels first."""
        specs = []
        if self.ratio is not None:
            options = {"ratio": self.ratio, "multiple": self.multiple}
            specs.append(PassSpec(name="pruning.channels", options=options))
        if self.pattern is not None:
            specs.append(PassSpec(name="pruning.sparsity", options={"pattern": self.pattern}))
        return tuple(specs)


class Recipe(_Section):
    """What to do to a model.

    Attributes:
        name: The recipe's name in reports.
        passes: The passes in order; a group's name stands for all of its passes.
        target: ``cpu``, or with options ``cpu:mcpu=znver4``; see ``ingot targets``.
        fallback: Whether ONNX Runtime may run what the target cannot compile.
        prune: What is pruned, before anything is quantized; a ratio or N:M alone will do.
        precision: Precision of weights and activations, except of layers that stay float.
        calibration: What quantization is calibrated with; a path alone will do.
        accuracy_budget: Largest loss of accuracy by quantization, in the unit of the data's metric;
            layers stay in float until it holds.
        data: Labelled data that the budget is held on.
        simplify: Whether onnxsim simplifies the graph first (guarded by a numeric check).
        shapes: Shapes of inputs by name, which bind symbolic dimensions.
        verify: How the result is held to the reference.
        guard: Whether each optional step (fusion, pruning, a precision) is kept only where it is
            measured to pay.
    """

    name: str = "fp32"
    passes: tuple[PassSpec, ...] = (
        PassSpec(name="cleanup"),
        PassSpec(name="fusion"),
        PassSpec(name="cleanup"),
    )
    target: str = "cpu"
    fallback: bool = True
    prune: PruneOptions | None = None
    precision: Precision = "fp32"
    calibration: CalibrationOptions = CalibrationOptions()
    accuracy_budget: float | None = pydantic.Field(default=None, ge=0)
    data: str | None = None
    simplify: bool = True
    shapes: dict[str, tuple[int, ...]] = {}
    verify: VerifyOptions = VerifyOptions()
    guard: bool = False

    @pydantic.field_validator("passes", mode="before")
    @classmethod
    def _names_alone(cls, value: Any) -> Any:
        """Lets a pass without options be written as its name."""
        if isinstance(value, (list, tuple)):
            return tuple({"name": item} if isinstance(item, str) else item for item in value)
        return value

    @pydantic.field_validator("calibration", mode="before")
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        """Lets calibration data be written as its path."""
        return {"data": str(value)} if isinstance(value, (str, Path)) else value

    @pydantic.field_validator("prune", mode="before")
    @classmethod
    def _one_alone(cls, value: Any) -> Any:
        """Lets pruning be written as its ratio or its pattern."""
        if isinstance(value, str):
            return {"pattern": value}
        return {"ratio": value} if isinstance(value, (int, float)) else value

    @property
    def pipeline(self) -> tuple[PassSpec, ...]:
        """The passes with the pruning that ``prune`` asks for, before the first that rounds."""
        if self.prune is None:
            return self.passes
        groups = [spec.name.split(".")[0] for spec in self.passes]
        rounds = [i for i, group in enumerate(groups) if group in ("quantization", "precision")]
        place = min(rounds, default=len(groups))
        return (*self.passes[:place], *self.prune.passes, *self.passes[place:])

    @property
    def learns(self) -> bool:
        """Whether samples make the result better: of what is quantized or pruned."""
        return self.precision == "int8" or self.prune is not None

    def quantized(self) -> Recipe:
        """The recipe with the quantization to 8 bits behind its passes, unless it has one."""
        if any(spec.name.split(".")[0] == "quantization" for spec in self.passes):
            return self
        name = "int8" if self.name == "fp32" else f"{self.name}-int8"
        passes = (*self.passes, PassSpec(name="quantization"))
        return self.model_copy(update={"name": name, "passes": passes, "precision": "int8"})

    def computed_in(self, precision: Precision) -> Recipe:
        """The recipe with the passes for a precision behind its own.

        Raises:
            UsageError: There is no such precision, or the recipe has another one.
        """
        if self.precision == precision:
            return self
        if self.precision != "fp32":
            raise UsageError(
                f"recipe '{self.name}' computes in {self.precision}, and {precision} is asked for: "
                "take another recipe"
            )
        if precision == "int8":
            return self.quantized()
        if precision == "bf16" or precision == "fp16":
            return self.in_sixteen_bits(precision)
        raise UsageError(f"no precision {precision!r}; possible: {', '.join(get_args(Precision))}")

    def in_sixteen_bits(self, precision: Literal["bf16", "fp16"]) -> Recipe:
        """The recipe with layers in 16 bits, or their weights where the target has no such unit."""
        name = precision if self.name == "fp32" else f"{self.name}-{precision}"
        added = tuple(
            PassSpec(name=f"precision.{name}", options={"type": precision})
            for name in ("sixteen-bits", "sixteen-bit-weights")
        )
        passes = (*self.passes, *added)
        return self.model_copy(update={"name": name, "passes": passes, "precision": precision})


# Recipes that can be named instead of given as a file.
NAMED_RECIPES: Mapping[str, Recipe] = {
    "fp32": Recipe(),
    "int8": Recipe().quantized(),
    "bf16": Recipe().in_sixteen_bits("bf16"),
    "fp16": Recipe().in_sixteen_bits("fp16"),
    "best": Recipe().quantized().model_copy(update={"name": "best", "guard": True}),
    "none": Recipe(name="none", passes=(), simplify=False),
}


def load_recipe(source: str | Path | Mapping[str, Any] | Recipe | None = None) -> Recipe:
    """Returns a recipe from a name, a ``.toml`` or ``.yaml`` file, a mapping, or as given.

    Raises:
        UsageError: There is no such file or name, or a key is unknown (names the nearest valid
            one) or a value does not fit.
    """
    if source is None:
        return NAMED_RECIPES["fp32"]
    if isinstance(source, Recipe):
        return source
    if isinstance(source, Mapping):
        return _validate(dict(source), "the recipe")
    if str(source) in NAMED_RECIPES:
        return NAMED_RECIPES[str(source)]
    path = Path(source)
    if not _is_file(path):
        raise UsageError(
            f"no recipe {str(source)!r}: give a file (.toml, .yaml) or one of "
            f"{', '.join(NAMED_RECIPES)}"
        )
    raw = _parse(path)
    if not isinstance(raw, dict):
        raise UsageError(f"recipe {path} holds no table of keys")
    raw.setdefault("name", path.stem)
    return _validate(raw, f"recipe {path}")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, or with a null
        return False


def _parse(path: Path) -> Any:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"{path} is no recipe: it is larger than {_MOST_BYTES >> 20} MiB")
        text = path.read_text(encoding="utf-8")
        raw = parse_toml(text) if path.suffix == ".toml" else yaml.safe_load(text)
        _require_few_values(raw)
    except UsageError:
        raise
    except RecursionError as error:
        raise UsageError(f"recipe {path} cannot be parsed: it is nested too deep") from error
    except Exception as error:
        # Besides errors of their own, the parsers raise ValueError for numbers and dates.
        reason = " ".join(str(error).split())
        raise UsageError(f"recipe {path} cannot be parsed: {reason}") from error
    return raw


def _require_few_values(raw: Any) -> None:
    """Refuses what YAML's aliases repeat without end, or in itself."""
    waiting, count = [raw], 0
    while waiting:
        value = waiting.pop()
        count += 1
        if count > _MOST_VALUES:
            raise ValueError("it holds too many values")
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, (list, tuple, set)):
            waiting += value


def _validate(raw: dict[str, Any], where: str) -> Recipe:
    try:
        return Recipe.model_validate(raw)
    except pydantic.ValidationError as error:
        # An unknown key explains the missing one that it was meant to be.
        found = sorted(error.errors(), key=lambda entry: entry["type"] != "extra_forbidden")
        first = found[0]
        location = [str(part) for part in first["loc"]]
        if first["type"] == "extra_forbidden":
            valid = _fields_at(location[:-1])
            nearest = difflib.get_close_matches(location[-1], valid, n=1, cutoff=0.5)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"valid keys: {', '.join(valid)}"
            raise UsageError(f"{where} has no key {'.'.join(location)!r}; {hint}") from error
        raise UsageError(f"{where}, key {'.'.join(location)!r}: {first['msg']}") from error


def _fields_at(location: list[str]) -> list[str]:
    if location[:1] == ["verify"]:
        return list(VerifyOptions.model_fields)
    if location[:1] == ["prune"]:
        return list(PruneOptions.model_fields)
    if location[:1] == ["calibration"]:
        return list(CalibrationOptions.model_fields)
    if location[:1] == ["passes"]:
        return list(PassSpec.model_fields)
    return list(Recipe.model_fields)
