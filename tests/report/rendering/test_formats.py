"""Numbers as a reader wants them."""
# ruff: noqa: RUF001 - ratios have a true multiplication sign, gaps a dash

import pytest

from ingot.report.rendering import formats


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0263, "0.026"),
        (0.93, "0.93"),
        (8.316, "8.32"),
        (47.13, "47.1"),
        (4188.2, "4,188"),
        (None, "–"),
    ],
)
def test_milliseconds(value, shown):
    assert formats.milliseconds(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0125, "12.5 ms"), (0.25, "0.25 s"), (9.74, "9.7 s"), (200, "3.3 min"), (None, "–")],
)
def test_seconds(value, shown):
    assert formats.seconds(value).replace("\u202f", " ") == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (153, "153 B"),
        (17_900, "17.9 kB"),
        (995_000, "995 kB"),
        (14e6, "14.0 MB"),
        (2.5e9, "2.5 GB"),
    ],
)
def test_sizes_are_decimal(value, shown):
    assert formats.size(value).replace("\u202f", " ") == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0213, "0.0213×"), (0.42, "0.42×"), (1.0, "1.00×"), (116.8, "116.8×")]
)
def test_ratios(value, shown):
    assert formats.times(value) == shown


def test_a_loss_has_a_true_minus_sign():
    assert formats.difference(-0.5) == "\N{MINUS SIGN}0.50"
    assert formats.difference(0.0) == "0.00"
