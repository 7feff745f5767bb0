"""What holds of each cleanup pass on any graph."""

import hypothesis
import pytest
from hypothesis import given

from ingot.passes.base import FLOAT_ROUNDING
from ingot.passes.cleanup import PASSES, Identities
from ingot.passes.difference import GraphState, compare_graphs
from ingot.passes.invariants import Interface, check_graph, check_operators
from tests.graphs import assert_bit_equal, models, outputs_of, special_inputs

every_pass = pytest.mark.parametrize("cls", PASSES, ids=lambda cls: cls.name)
settings = hypothesis.settings(deadline=None, max_examples=30)


@every_pass
@settings
@given(model=models())
def test_outputs_stay_equal_bit_by_bit(cls, model):
    inputs = special_inputs(model)
    before = outputs_of(model, inputs)
    cls()(model)
    assert_bit_equal(before, outputs_of(model, inputs))


@every_pass
@settings
@given(model=models())
def test_graph_stays_valid_and_keeps_its_interface(cls, model):
    interface = Interface.of(model)
    cls()(model)
    interface.check_kept(model)
    check_graph(model)
    check_operators(model)


@every_pass
@settings
@given(model=models())
def test_second_run_changes_nothing(cls, model):
    cls()(model)
    before = GraphState.capture(model)
    outcome = cls()(model)
    assert not compare_graphs(before, GraphState.capture(model))
    assert not outcome.modified
    assert outcome.applied == 0


@every_pass
@settings
@given(model=models())
def test_outcome_tells_whether_the_graph_changed(cls, model):
    before = GraphState.capture(model)
    outcome = cls()(model)
    assert outcome.modified == bool(compare_graphs(before, GraphState.capture(model)))


@settings
@given(model=models())
def test_all_in_default_order_leave_no_more_nodes_and_equal_bits(model):
    inputs = special_inputs(model)
    before, nodes_before = outputs_of(model, inputs), len(GraphState.capture(model).nodes)
    for cls in PASSES:
        cls()(model)
    assert_bit_equal(before, outputs_of(model, inputs))
    assert len(GraphState.capture(model).nodes) <= nodes_before


def test_only_folding_may_sum_floats_in_another_order():
    assert [cls.name for cls in PASSES if cls.tolerance == FLOAT_ROUNDING] == [
        "cleanup.constant-folding"
    ]
    assert PASSES[0] is Identities
