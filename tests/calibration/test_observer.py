"""An observer keeps what NumPy would compute of all samples at once, without keeping them."""

import numpy as np
import pytest

from ingot.calibration.observer import Observer, channel_axis
from ingot.calibration.statistics import MOVING_AVERAGE_CONSTANT
from ingot.errors import DataError, ModelError

GENERATOR = np.random.default_rng(0)


def observed(*arrays, **options):
    observer = Observer("t", **options)
    for index, array in enumerate(arrays):
        observer.update(np.asarray(array), f"sample {index}")
    return observer.finish()


def test_figures_are_those_of_all_values():
    samples = [GENERATOR.normal(size=(2, 3, 4, 5)).astype(np.float32) for _ in range(4)]
    found, values = observed(*samples), np.stack(samples).astype(np.float64)
    assert (found.samples, found.count) == (4, values.size)
    assert (found.minimum, found.maximum) == (values.min(), values.max())
    assert found.mean == pytest.approx(values.mean())
    assert found.histogram.total == values.size


def test_moving_extremes_follow_the_samples_in_their_order():
    found = observed([1.0, 2.0], [-1.0, 6.0], [0.0, 0.0])
    low, high = 1.0, 2.0
    for lowest, highest in ((-1.0, 6.0), (0.0, 0.0)):
        low += MOVING_AVERAGE_CONSTANT * (lowest - low)
        high += MOVING_AVERAGE_CONSTANT * (highest - high)
    assert found.moving_minimum == pytest.approx(low)
    assert found.moving_maximum == pytest.approx(high)


@pytest.mark.parametrize(
    ("shape", "channels_first", "axis"),
    [
        ((), False, None),
        ((4,), False, None),
        ((2, 4), False, 1),
        ((2, 3, 4), False, 2),
        ((2, 4, 3), True, 1),
        ((2, 4, 3, 5), False, 1),
        ((2, 4, 3, 5, 6), False, 1),
    ],
)
def test_channels_lie_where_the_rank_says(shape, channels_first, axis):
    assert channel_axis(len(shape), channels_first=channels_first) == axis
    samples = [GENERATOR.normal(size=shape).astype(np.float32) for _ in range(2)]
    found = observed(*samples, channels_first=channels_first).channels
    if axis is None:
        assert found is None
        return
    rows = np.moveaxis(np.concatenate(samples), axis, 0).reshape(4, -1)
    assert found.axis == axis
    np.testing.assert_array_equal(found.minimum, rows.min(1))
    np.testing.assert_array_equal(found.maximum, rows.max(1))
    np.testing.assert_allclose(found.mean, rows.mean(1, dtype=np.float64), rtol=1e-5, atol=1e-7)


def test_a_number_of_channels_that_changes_means_there_are_none():
    found = observed(np.ones((1, 3)), np.ones((1, 5)), np.zeros((1, 5)))
    assert found.channels is None
    assert (found.count, found.minimum, found.maximum) == (13, 0.0, 1.0)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int64, np.int8, np.uint8, bool])
def test_other_numbers_are_counted_too(dtype):
    found = observed(np.array([0, 1, 1], dtype))
    assert (found.minimum, found.maximum, found.histogram.zeros) == (0.0, 1.0, 1)


@pytest.mark.parametrize(
    ("value", "kind"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")]
)
@pytest.mark.parametrize("shape", [(6,), (1, 2, 3, 1)])
def test_what_is_not_finite_is_named_with_its_sample(value, kind, shape):
    array = np.zeros(6, np.float32)
    array[4] = value
    position = np.argwhere(array.reshape(shape) != 0)[0].tolist()
    with pytest.raises(DataError) as caught:
        observed(np.ones(shape, np.float32), array.reshape(shape))
    assert f"tensor 't' is {kind} at {position} for sample 1: check" in str(caught.value)


def test_text_is_no_number():
    with pytest.raises(ModelError, match="tensor 't' holds .*, no numbers: leave it out"):
        observed(np.array(["a"]))


def test_empty_samples_are_passed_over_and_no_values_at_all_is_an_error():
    assert observed(np.zeros((0, 3)), np.ones((1, 3))).samples == 1
    with pytest.raises(DataError, match="tensor 't' is empty in every sample"):
        observed(np.zeros((0, 3)))


def test_without_a_histogram_the_other_figures_are_the_same():
    sample = GENERATOR.normal(size=(1, 2, 3, 3)).astype(np.float32)
    with_, without = observed(sample), observed(sample, histogram=False)
    assert without.histogram.total == 0
    np.testing.assert_array_equal(with_.channels.mean, without.channels.mean)
