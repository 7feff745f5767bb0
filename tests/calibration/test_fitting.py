"""Samples are padded and stacked to what a model fixes, and refused where they do not fit."""

import numpy as np
import pytest

from ingot.calibration.fitting import check_sample, fit_samples
from ingot.calibration.samples import Sample
from ingot.errors import DataError
from tests.graphs import parse


def inputs_of(declaration):
    first = declaration.rpartition(" ")[2]
    text = f"({declaration}) => (float[N] result) {{ result = Identity({first}) }}"
    return parse(f'<ir_version: 10, opset_import: ["":21]> g {text}').graph.inputs


def sample(name="cat.jpg", **arrays):
    return Sample(name, arrays)


IMAGE = inputs_of("float[N, 3, 4, 4] x")
TOKENS = inputs_of("int64[B, T] input_ids, int64[B, T] attention_mask")


@pytest.mark.parametrize("batch", [1, 7])
def test_a_sample_that_fits_passes(batch):
    check_sample(sample(x=np.zeros((batch, 3, 4, 4), np.float32)), IMAGE)


@pytest.mark.parametrize(
    ("arrays", "inputs", "message"),
    [
        ({}, IMAGE, "cat.jpg has no input 'x'; the model takes x"),
        (
            {"x": np.zeros((1, 3, 4, 4), np.float32), "y": np.zeros(1)},
            IMAGE,
            "cat.jpg has an unknown input 'y'; the model takes x",
        ),
        (
            {"x": np.zeros((1, 3, 4, 4))},
            IMAGE,
            r"input 'x' of cat.jpg is float64, the model expects float32: .*astype\('float32'\)",
        ),
        (
            {"x": np.zeros((1, 3, 4, 5), np.float32)},
            IMAGE,
            r"input 'x' of cat.jpg has the shape \[1, 3, 4, 5\], the model expects \[N, 3, 4, 4\]",
        ),
        (
            {"x": np.zeros((3, 4, 4), np.float32)},
            IMAGE,
            r"has the shape \[3, 4, 4\], the model expects \[N, 3, 4, 4\]",
        ),
        (
            {
                "input_ids": np.zeros((1, 5), np.int64),
                "attention_mask": np.zeros((1, 4), np.int64),
            },
            TOKENS,
            r"'attention_mask' of cat.jpg has .*\[1, 4\].*\[B, T\], where T is 5 in .*'input_ids'",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_the_expectation(arrays, inputs, message):
    with pytest.raises(DataError, match=message):
        check_sample(Sample("cat.jpg", arrays), inputs)


def numbered(count, size=1):
    return [sample(f"image {i}", x=np.full((size, 3, 4, 4), i, np.float32)) for i in range(count)]


def test_samples_are_stacked_to_the_batch_that_is_fixed():
    fitted = list(fit_samples(numbered(5), inputs_of("float[2, 3, 4, 4] x"), {}))
    assert [(found.name, count) for found, count in fitted] == [
        ("image 0 to image 1", 2),
        ("image 2 to image 3", 2),
        ("image 4", 1),
    ]
    values = [found.inputs["x"][:, 0, 0, 0].tolist() for found, _ in fitted]
    assert values == [[0, 1], [2, 3], [4, 4]]


@pytest.mark.parametrize("declaration", ["float[N, 3, 4, 4] x", "float[1, 3, 4, 4] x"])
def test_other_models_get_samples_one_by_one(declaration):
    fitted = fit_samples(numbered(3), inputs_of(declaration), {})
    assert [(found.name, count) for found, count in fitted] == [
        (f"image {index}", 1) for index in range(3)
    ]


def test_samples_that_are_batches_already_stay_as_they_are():
    ((found, count),) = fit_samples(numbered(1, size=2), inputs_of("float[2, 3, 4, 4] x"), {})
    assert (found.inputs["x"].shape, count) == ((2, 3, 4, 4), 1)


def test_samples_of_different_shapes_cannot_share_a_batch():
    samples = [sample("a", x=np.zeros((1, 3))), sample("b", x=np.zeros((1, 4)))]
    with pytest.raises(DataError, match="a and b differ in input 'x', so they cannot share"):
        list(fit_samples(samples, inputs_of("float[2, T] x"), {}))


def test_sentences_are_padded_and_cut_to_the_tokens_that_are_fixed():
    padding = {"input_ids": 9, "attention_mask": 0}
    inputs = inputs_of("int64[1, 4] input_ids, int64[1, 4] attention_mask")
    samples = [
        sample(input_ids=np.array([[1, 2]]), attention_mask=np.array([[1, 1]])),
        sample(input_ids=np.array([[1, 2, 3, 4, 5]]), attention_mask=np.ones((1, 5), np.int64)),
    ]
    (short, _), (long, _) = fit_samples(samples, inputs, padding)
    assert short.inputs["input_ids"].tolist() == [[1, 2, 9, 9]]
    assert short.inputs["attention_mask"].tolist() == [[1, 1, 0, 0]]
    assert long.inputs["input_ids"].tolist() == [[1, 2, 3, 4]]
    for found in (short, long):
        check_sample(found, inputs)


def test_an_open_number_of_tokens_needs_no_padding():
    samples = [sample(input_ids=np.array([[1, 2]]), attention_mask=np.array([[1, 1]]))]
    ((found, _),) = fit_samples(samples, TOKENS, {"input_ids": 9, "attention_mask": 0})
    assert found.inputs["input_ids"].tolist() == [[1, 2]]
