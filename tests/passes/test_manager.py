"""Runs any onnx_ir pass: times it, records what it changed, and holds it to what it declares."""

import json

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx_ir.passes.common import (
    CommonSubexpressionEliminationPass,
    IdentityEliminationPass,
    RemoveUnusedNodesPass,
)
from onnxscript.rewriter import RewritePass
from onnxscript.rewriter.rules.common import successive_relu_rule

from ingot.compiler.verification import ReferenceCheck
from ingot.errors import IngotError, ModelError, UsageError
from ingot.passes.base import EXACT, FLOAT_ROUNDING, Declined, IngotPass, PassOptions, PassOutcome
from ingot.passes.manager import PassManager
from ingot.passes.record import CheckResult, PassCheckError, PassRecord
from tests.graphs import nodes, parse

MODEL = """<ir_version: 10, opset_import: ["":21]>
g (float[N, 2] x) => (float[N, 2] y) <float[2] w = {1, 2}> {
 [mul] a = Mul(x, w)
 [again] b = Mul(x, w)
 [same] c = Identity(b)
 [add] d = Add(a, c)
 [relu1] e = Relu(d)
 [relu2] y = Relu(e)
}"""


class Ingot(IngotPass[PassOptions]):
    """A pass whose work is given; it says that it applied twice and declined once."""

    name = "test.ingot"
    summary = "Does what it is told."
    tolerance = EXACT

    def __init__(self, work=lambda model: None):
        super().__init__()
        self._work = work

    def call(self, model):
        self._work(model)
        return PassOutcome(model, True, 2, [Declined("add", "it has another consumer")])


def rename_operator(old, new):
    def work(model):
        for node in model.graph:
            if node.op_type == old:
                node.op_type = new

    return work


@pytest.fixture
def model():
    return parse(MODEL)


def check_for(model):
    return ReferenceCheck.for_model(model)


class TestRecords:
    def test_what_a_foreign_pass_changed_is_found_by_comparing(self, model):
        run = PassManager([CommonSubexpressionEliminationPass()]).run(model)
        (record,) = run.records
        assert record.name == "CommonSubexpressionEliminationPass"
        assert (record.removed, record.added, record.changed_nodes) == (["again"], [], ["same"])
        assert record.op_delta == {"Mul": -1}
        assert (record.nodes_before, record.nodes_after) == (6, 5)
        assert (record.changed, record.applied) == (True, 1)

    def test_functional_pass_gives_another_model(self, model):
        pass_ = ir.passes.functionalize(IdentityEliminationPass())
        run = PassManager([pass_], check=check_for(model)).run(model)
        assert run.model is not model
        assert "Identity" in nodes(model)
        assert "Identity" not in nodes(run.model)
        assert run.records[0].removed == ["same"]

    def test_rewrite_rules_of_onnxscript(self, model):
        pass_ = RewritePass([successive_relu_rule])
        run = PassManager([pass_], check=check_for(model)).run(model)
        assert run.records[0].op_delta == {"Relu": -1}
        assert run.records[0].check is not None

    def test_nothing_to_do(self, model):
        run = PassManager([RemoveUnusedNodesPass()], check=check_for(model)).run(model)
        (record,) = run.records
        assert (record.changed, record.applied, record.check) == (False, 0, None)
        assert record.check_seconds == 0.0

    def test_ingot_pass_says_how_often_it_applied_and_where_not(self, model):
        (record,) = PassManager([Ingot()]).run(model).records
        assert record.applied == 2
        assert [(d.node, d.reason) for d in record.declined] == [("add", "it has another consumer")]

    def test_bytes_of_weights(self, model):
        def shrink(model):
            tensor = ir.tensor(np.ones(1, np.float32), name="w")
            model.graph.initializers["w"].const_value = tensor
            model.graph.initializers["w"].shape = ir.Shape([1])

        (record,) = PassManager([Ingot(shrink)]).run(model).records
        assert (record.initializer_bytes_before, record.initializer_bytes_after) == (8, 4)

    def test_progress_is_told_each_pass_as_it_begins(self, model):
        told = []
        passes = [CommonSubexpressionEliminationPass(), IdentityEliminationPass()]
        run = PassManager(passes, progress=lambda *step: told.append(step)).run(model)
        assert told == [(f"pass {record.name}", 0, 0) for record in run.records]

    def test_times_are_measured(self, model):
        (record,) = (
            PassManager([IdentityEliminationPass()], check=check_for(model)).run(model).records
        )
        assert record.seconds > 0
        assert record.check_seconds > 0

    def test_record_survives_json(self, model):
        (record,) = PassManager([Ingot()]).run(model).records
        record.check = CheckResult(
            tolerance="float rounding", max_abs_error=1.0, max_rel_error=float("inf")
        )
        assert PassRecord.model_validate_json(record.model_dump_json()) == record
        assert json.loads(record.model_dump_json())["check"]["max_rel_error"] == "Infinity"


class TestCheck:
    def test_outcome_is_recorded_under_the_tolerance_that_the_pass_declares(self, model):
        passes = [Ingot(rename_operator("Relu", "Abs")), IdentityEliminationPass()]
        model.graph.initializers["w"].const_value = ir.tensor(np.zeros(2, np.float32), name="w")
        records = PassManager(passes, check=check_for(model)).run(model).records
        assert [record.check.tolerance for record in records] == [EXACT.kind, FLOAT_ROUNDING.kind]
        assert [record.check.max_abs_error for record in records] == [0.0, 0.0]

    def test_failure_names_pass_first_tensor_and_difference(self, model):
        passes = [IdentityEliminationPass(), Ingot(rename_operator("Add", "Sub"))]
        with pytest.raises(PassCheckError) as caught:
            PassManager(passes, check=check_for(model)).run(model)
        assert caught.value.pass_name == "test.ingot"
        assert caught.value.first.tensor == "d"
        assert caught.value.first.max_abs_error > 1
        assert str(caught.value).startswith("pass 'test.ingot' changed the results: tensor 'd' ")
        assert "\n" not in str(caught.value)

    def test_check_runs_only_after_passes_that_changed_something(self, model):
        calls = []

        class Counting:
            def compare(self, before, after, tolerance, *, pass_name):
                calls.append(pass_name)
                return CheckResult(tolerance=tolerance.kind, max_abs_error=0, max_rel_error=0)

        passes = [RemoveUnusedNodesPass(), IdentityEliminationPass(), RemoveUnusedNodesPass()]
        PassManager(passes, check=Counting()).run(model)
        assert calls == ["IdentityEliminationPass"]

    def test_models_given_to_the_check_chain_and_share_their_weights(self, model):
        pairs = []

        class Keeping:
            def compare(self, before, after, tolerance, *, pass_name):
                pairs.append((before, after))
                return CheckResult(tolerance=tolerance.kind, max_abs_error=0, max_rel_error=0)

        weight = model.graph.initializers["w"].const_value
        passes = [IdentityEliminationPass(), CommonSubexpressionEliminationPass()]
        PassManager(passes, check=Keeping()).run(model)
        (first, second), (third, fourth) = pairs
        assert second is third
        for snapshot in (first, second, fourth):
            assert snapshot is not model
            assert snapshot.graph.initializers["w"].const_value is weight
        assert [len(nodes(m)) for m in (first, second, fourth)] == [6, 5, 4]


class TestFailures:
    def test_pass_that_raises_is_named_in_one_line(self, model):
        def fail(model):
            raise ValueError("a reason\nand a second line")

        with pytest.raises(IngotError) as caught:
            PassManager([Ingot(fail)]).run(model)
        assert str(caught.value) == "pass 'test.ingot' failed: ValueError: a reason"
        assert isinstance(caught.value.__cause__, ValueError)

    def test_nested_passes_give_the_innermost_reason(self, model):
        def fail(model):
            raise KeyError("w2")

        nested = ir.passes.Sequential(ir.passes.Sequential(Ingot(fail)))
        with pytest.raises(IngotError, match="pass 'Sequential' failed: KeyError: 'w2'"):
            PassManager([nested]).run(model)

    def test_error_for_the_user_keeps_its_kind(self, model):
        def fail(model):
            raise UsageError("the budget must be positive")

        with pytest.raises(UsageError, match=r"pass 'test.ingot': the budget must be positive"):
            PassManager([Ingot(fail)]).run(model)

    @pytest.mark.parametrize(
        ("work", "reason"),
        [
            (
                lambda model: model.graph.node(1).replace_input_with(0, ir.Value(name="ghost")),
                "reads 'ghost', which nothing before it defines",
            ),
            (
                lambda model: setattr(model.graph.outputs[0], "dtype", ir.DataType.DOUBLE),
                "output 'y' had dtype FLOAT and has become DOUBLE",
            ),
            (rename_operator("Relu", "Rellu"), "onnx's checker refuses the graph"),
        ],
    )
    def test_pass_that_leaves_an_invalid_graph_is_named(self, model, work, reason):
        with pytest.raises(ModelError) as caught:
            PassManager([Ingot(work)]).run(model)
        assert str(caught.value).startswith("pass 'test.ingot' left an invalid graph: ")
        assert reason in str(caught.value)

    def test_interface_is_held_to_the_first_model_not_the_last(self, model):
        def forget(model):
            model.graph.outputs[0].shape = None

        with pytest.raises(ModelError, match="output 'y' had shape"):
            PassManager([IdentityEliminationPass(), Ingot(forget)]).run(model)


class TestDump:
    def test_input_and_each_pass(self, model, tmp_path):
        folder = tmp_path / "a" / "passes"
        PassManager([IdentityEliminationPass(), Ingot()], dump_dir=folder).run(model)
        assert sorted(path.name for path in folder.iterdir()) == [
            "00-input.onnx",
            "01-IdentityEliminationPass.onnx",
            "02-test.ingot.onnx",
        ]
        before = onnx.load(folder / "00-input.onnx")
        after = onnx.load(folder / "01-IdentityEliminationPass.onnx")
        assert (len(before.graph.node), len(after.graph.node)) == (6, 5)

    def test_model_that_fails_its_check_is_there_to_be_looked_at(self, model, tmp_path):
        manager = PassManager(
            [Ingot(rename_operator("Add", "Sub"))], check=check_for(model), dump_dir=tmp_path
        )
        with pytest.raises(PassCheckError):
            manager.run(model)
        broken = onnx.load(tmp_path / "01-test.ingot.onnx")
        assert "Sub" in [node.op_type for node in broken.graph.node]

    def test_folder_that_cannot_be_made_is_one_line(self, model, tmp_path):
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(IngotError, match=r"cannot write '.*00-input.onnx': "):
            PassManager([], dump_dir=tmp_path / "file").run(model)
