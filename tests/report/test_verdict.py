"""The finding in words."""

import pytest

from ingot.report.schema import Agreement, DataFacts
from ingot.report.verdict import npu_verdict, ratio, signed, verdict

DATA = DataFacts(description="1,300 images of val", sha256="", examples=1300, labelled=True)


def agreement(**changes):
    facts = {
        "examples": 8,
        "source": "8 random inputs",
        "exact": False,
        "finite": True,
        "max_abs_error": 1.23e-6,
        "sqnr_db": 121.6,
        "worst_output": "y",
    }
    return Agreement.model_validate({**facts, **changes})


def say(figures, speed, metric=None, found=None):
    reference = figures.variant()
    low, value, high = speed
    variant = figures.variant(
        "Ingot fp32",
        "ingot",
        speed={"value": value, "low": low, "high": high},
        metrics=() if metric is None else (metric,),
        agreement=found,
    )
    return verdict(variant, reference, DATA if metric else None)


def test_slower_with_the_same_accuracy(figures):
    assert say(figures, (0.41, 0.42, 0.43), figures.metric(79.08, (0.0, 0.0, 0.0))) == (
        "Ingot fp32 is 0.42x as fast as ONNX Runtime fp32 (95 % interval 0.41 to 0.43), with the "
        "same top-1 (79.08 %), every prediction alike, on 1,300 images of val."
    )


def test_a_difference_that_cancels_is_not_called_alike(figures):
    metric = figures.metric(79.08, (0.0, -0.3, 0.3))
    assert "with the same top-1 (79.08 %) on" in say(figures, (1.1, 1.2, 1.3), metric)


def test_a_loss_is_told_with_its_interval(figures):
    told = say(figures, (1.9, 2.0, 2.1), figures.metric(78.5, (-0.62, -1.0, -0.24)))
    assert told.endswith(
        "with top-1 0.62 points lower (78.50 %; 95 % interval -1.00 to -0.24) on 1,300 images "
        "of val."
    )


def test_no_clear_difference_in_speed_is_called_as_fast(figures):
    told = say(figures, (0.97, 1.01, 1.04), figures.metric(79.0, (0.0, 0.0, 0.0)))
    assert told.startswith(
        "Ingot fp32 is as fast as ONNX Runtime fp32 (1.01x, 95 % interval 0.97 to 1.04)"
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"exact": True}, "with outputs equal bit by bit on 8 random inputs."),
        ({}, "with outputs that differ by at most 1.2e-06 (SQNR 122 dB) on 8 random inputs."),
        (
            {"finite": False, "max_abs_error": None, "sqnr_db": None},
            "but with outputs that are no finite numbers on 8 random inputs.",
        ),
    ],
)
def test_without_labels_the_outputs_are_compared(figures, changes, told):
    assert say(figures, (2, 2, 2), found=agreement(**changes)).endswith(told)


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0213, "0.0213x"), (0.42, "0.42x"), (1.08, "1.08x"), (12.44, "12.4x")]
)
def test_ratios_keep_three_digits(value, shown):
    assert ratio(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0.00"), (-0.001, "0.00"), (0.5, "+0.50"), (-0.5, "-0.50")]
)
def test_differences_carry_their_sign(value, shown):
    assert signed(value) == shown


def test_what_an_npu_does_is_estimated_and_its_accuracy_is_not(figures):
    assert npu_verdict(figures.npu(), DATA) == (
        "Ingot int8 on ethos-u55-256 is estimated by Vela 5.2.0 at 40,502 inferences per second "
        "(12,345 cycles at 500 MHz), with top-1 0.50 points lower (78.50 %; 95 % interval -1.00 to "
        "+0.10) on 1,300 images of val."
    )


def test_an_npu_that_has_nothing_to_do_says_so(figures):
    idle = figures.npu(inferences_per_second=None, cycles=0)
    assert "on ethos-u55-256 leaves everything to the CPU, with top-1" in npu_verdict(idle, DATA)
