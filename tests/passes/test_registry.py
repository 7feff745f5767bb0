"""Passes are found by name: Ingot's own without being installed, others by entry points."""

import dataclasses
from typing import Any

import onnx_ir as ir
import pydantic
import pytest
from onnx_ir.passes.common import CommonSubexpressionEliminationPass, ShapeInferencePass

from ingot.errors import IngotError, UsageError
from ingot.passes.base import IngotPass, PassOptions, PassOutcome
from ingot.passes.cleanup import PASSES as CLEANUP
from ingot.passes.cleanup import ConstantFolding
from ingot.passes.registry import PassSpec, Registry, available, create


class ThirdPartyPass(IngotPass[PassOptions]):
    name = "acme.nothing"
    summary = "Does nothing."

    def call(self, model: ir.Model) -> PassOutcome:
        return PassOutcome(model, False)


@dataclasses.dataclass
class EntryPoint:
    name: str
    loaded: Any
    value: str = "acme.passes:PASSES"

    def load(self) -> Any:
        if isinstance(self.loaded, Exception):
            raise self.loaded
        return self.loaded


def test_own_passes_need_no_entry_points():
    registry = Registry(entry_points=[])
    assert set(registry.available()) >= {cls.name for cls in CLEANUP}
    assert registry.available()["cleanup.constant-folding"] is ConstantFolding
    assert registry.origin("cleanup.constant-folding") == "ingot.passes.cleanup"


def test_default_registry_holds_both_groups():
    groups = {name.partition(".")[0] for name in available()}
    assert {"cleanup", "fusion"} <= groups


def test_group_gives_its_passes_in_default_order():
    made = create(PassSpec(name="cleanup"))
    assert [type(pass_) for pass_ in made] == list(CLEANUP)


def test_options_are_typed_and_reach_the_pass():
    (made,) = create(PassSpec(name="cleanup.constant-folding", options={"max_bytes": 7}))
    assert made.options.max_bytes == 7


def test_entry_point_gives_one_class_or_several():
    one = Registry(entry_points=[EntryPoint("acme", ThirdPartyPass)])
    several = Registry(entry_points=[EntryPoint("acme", (ThirdPartyPass,))])
    for registry in (one, several):
        (made,) = registry.create(PassSpec(name="acme.nothing"))
        assert isinstance(made, ThirdPartyPass)
        assert registry.origin("acme.nothing").startswith("the entry point acme")


def test_plain_onnx_ir_pass_takes_the_entry_points_name_and_constructor_options():
    registry = Registry(entry_points=[EntryPoint("acme.cse", CommonSubexpressionEliminationPass)])
    (made,) = registry.create(PassSpec(name="acme.cse", options={"size_limit": 3}))
    assert made.size_limit == 3
    with pytest.raises(UsageError, match="has no option 'size'; did you mean 'size_limit'"):
        registry.create(PassSpec(name="acme.cse", options={"size": 3}))


def test_any_importable_pass_can_be_named():
    (made,) = create(PassSpec(name="onnx_ir.passes.common:ShapeInferencePass"))
    assert isinstance(made, ShapeInferencePass)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:Pass", "cannot import the pass 'no_such_module:Pass'"),
        ("onnx_ir:NoSuchPass", "cannot import the pass 'onnx_ir:NoSuchPass'"),
        ("onnx_ir:Model", "'onnx_ir:Model' is no onnx_ir pass class"),
        ("cleanup.dead-cod", "unknown pass 'cleanup.dead-cod'; did you mean 'cleanup.dead-code'?"),
        ("clenup", "unknown pass 'clenup'; did you mean 'cleanup'?"),
        ("qqqq", "unknown pass 'qqqq'; 'ingot passes' lists them all"),
    ],
)
def test_unknown_name_is_one_line_with_the_nearest(name, message):
    with pytest.raises(UsageError) as caught:
        create(PassSpec(name=name))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "cleanup.constant-folding",
            {"max_byte": 1},
            "pass 'cleanup.constant-folding' has no option 'max_byte'; did you mean 'max_bytes'?",
        ),
        (
            "cleanup.constant-folding",
            {"max_bytes": "many"},
            "pass 'cleanup.constant-folding', option 'max_bytes': input should be a valid integer",
        ),
        ("cleanup.constant-folding", {"max_bytes": -1}, "greater than or equal to 0, got -1"),
        ("cleanup.dead-code", {"a": 1}, "has no option 'a'; it has: none"),
        ("cleanup", {"max_bytes": 1}, "'cleanup' is a group of passes and takes no options"),
    ],
)
def test_bad_option_is_one_line(name, options, message):
    with pytest.raises(UsageError) as caught:
        create(PassSpec(name=name, options=options))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_passes_of_one_name_are_an_error_that_names_both():
    class Clash(ThirdPartyPass):
        name = "cleanup.dead-code"

    with pytest.raises(IngotError) as caught:
        Registry(entry_points=[EntryPoint("acme", Clash)])
    assert "'cleanup.dead-code'" in str(caught.value)
    assert "one of ingot.passes.cleanup" in str(caught.value)
    assert "one of the entry point acme = acme.passes:PASSES" in str(caught.value)


@pytest.mark.parametrize(
    ("loaded", "message"),
    [
        (ImportError("no module acme"), "cannot be loaded: ImportError: no module acme"),
        (3, "gives 3, which is no onnx_ir pass class"),
        (
            (CommonSubexpressionEliminationPass, ThirdPartyPass),
            "gives CommonSubexpressionEliminationPass, which declares no name",
        ),
    ],
)
def test_broken_entry_point_is_named(loaded, message):
    with pytest.raises(IngotError, match="the entry point acme") as caught:
        Registry(entry_points=[EntryPoint("acme", loaded)])
    assert message in str(caught.value)


def test_spec_refuses_unknown_keys():
    with pytest.raises(pydantic.ValidationError):
        PassSpec.model_validate({"name": "cleanup", "optoins": {}})
