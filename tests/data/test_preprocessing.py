"""Preprocessing reproduces the published recipes: resize, crop, channel order, normalization."""

import json

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tokenizers import models, pre_tokenizers, processors

from ingot.data.preprocessing import (
    METADATA_KEY,
    ImagePreprocessing,
    TextPreprocessing,
    read_metadata,
)
from ingot.errors import DataError, ModelError


def image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("pixel", "recipe", "expected"),
    [
        ((255, 0, 51), {}, (1.0, 0.0, 0.2)),
        (
            (124, 116, 104),
            {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
            (
                (124 / 255 - 0.485) / 0.229,
                (116 / 255 - 0.456) / 0.224,
                (104 / 255 - 0.406) / 0.225,
            ),
        ),
        (
            (10, 20, 30),
            {"scale": 1.0, "mean": (103.939, 116.779, 123.68), "channel_order": "BGR"},
            (30 - 103.939, 20 - 116.779, 10 - 123.68),
        ),
        (
            (0, 127, 255),
            {"scale": 1.0, "mean": (127.0,) * 3, "std": (128.0,) * 3},
            (-127 / 128, 0.0, 1.0),
        ),
    ],
    ids=["scale", "imagenet", "caffe-bgr", "efficientnet-lite"],
)
def test_a_pixel_is_scaled_shifted_and_divided_in_the_models_channel_order(pixel, recipe, expected):
    preprocessing = ImagePreprocessing(height=1, width=1, **recipe)

    value = preprocessing.apply(np.array([[pixel]], dtype=np.uint8))

    assert value.dtype == np.float32
    assert value.shape == (1, 3, 1, 1)
    np.testing.assert_allclose(value[0, :, 0, 0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "crop", "top", "left"),
    [
        ((4, 6), (2, 2), 1, 2),
        ((227, 227), (224, 224), 2, 2),  # 1.5 rounds half to even
        ((225, 229), (224, 224), 0, 2),  # 0.5 and 2.5
        ((5, 5), (5, 5), 0, 0),
    ],
)
def test_the_centre_crop_rounds_its_offsets_as_torchvision_does(size, crop, top, left):
    picture = image(*size)

    cropped = ImagePreprocessing(height=crop[0], width=crop[1]).crop(picture)

    np.testing.assert_array_equal(cropped, picture[top : top + crop[0], left : left + crop[1]])


@pytest.mark.parametrize(
    ("height", "width", "resized"),
    [
        (512, 640, (320, 256)),  # Pillow's order: width, height
        (640, 512, (256, 320)),
        (300, 401, (342, 256)),  # 342.19 rounds down
        (100, 150, (384, 256)),  # too small for the crop: enlarged
    ],
)
@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
def test_the_short_side_is_resized_before_the_crop(height, width, resized, resample):
    picture = image(height, width)
    preprocessing = ImagePreprocessing(
        height=224, width=224, resize_short_side=256, resample=resample
    )

    cropped = preprocessing.crop(picture)

    whole = np.asarray(
        Image.fromarray(picture).resize(resized, getattr(Image.Resampling, resample.upper()))
    )
    top, left = (round((n - 224) / 2) for n in whole.shape[:2])
    np.testing.assert_array_equal(cropped, whole[top : top + 224, left : left + 224])


@pytest.mark.parametrize("side", [224, 227, 256])
def test_an_image_that_was_already_reduced_is_only_cropped(side):
    picture = image(side, side + 10)
    recipe = {"height": 224, "width": 224}

    np.testing.assert_array_equal(
        ImagePreprocessing(**recipe, resize_short_side=256).crop(picture),
        ImagePreprocessing(**recipe).crop(picture),
    )


@settings(deadline=None)
@given(
    height=st.integers(8, 40),
    width=st.integers(8, 40),
    order=st.sampled_from(["RGB", "BGR"]),
    seed=st.integers(0, 2**16),
)
def test_layouts_and_channel_orders_are_permutations_of_one_another(height, width, order, seed):
    picture = image(height, width, seed)
    recipe = {"height": 8, "width": 8, "channel_order": order}

    nchw = ImagePreprocessing(**recipe, layout="NCHW").apply(picture)
    nhwc = ImagePreprocessing(**recipe, layout="NHWC").apply(picture)
    other = ImagePreprocessing(height=8, width=8, layout="NHWC").apply(picture)

    np.testing.assert_array_equal(nchw.transpose(0, 2, 3, 1), nhwc)
    np.testing.assert_array_equal(nhwc[..., ::-1] if order == "BGR" else nhwc, other)
    assert nchw.flags.c_contiguous
    assert nhwc.flags.c_contiguous


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((8, 8), np.uint8), r"uint8 \[height, width, 3\]"),
        (np.zeros((8, 8, 4), np.uint8), r"uint8 \[8, 8, 4\]"),
        (np.zeros((8, 8, 3), np.float32), "float32"),
        (np.zeros((4, 8, 3), np.uint8), "8x4 pixels is smaller"),
    ],
)
def test_an_array_that_is_no_such_image_is_refused(array, message):
    with pytest.raises(DataError, match=message):
        ImagePreprocessing(height=8, width=8).apply(array)


@pytest.fixture
def tokenizer_path(tmp_path):
    vocabulary = {"[CLS]": 0, "[SEP]": 1, "[UNK]": 2, "a": 3, "dog": 4, "runs": 5}
    tokenizer = tokenizers.Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
    )
    tokenizer.enable_padding(length=64)
    path = tmp_path / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def test_a_sentence_becomes_unpadded_int64_arrays(tokenizer_path):
    arrays = TextPreprocessing(tokenizer=str(tokenizer_path)).apply("a dog runs")

    assert list(arrays) == ["input_ids", "attention_mask", "token_type_ids"]
    assert all(a.dtype == np.int64 and a.shape == (1, 5) for a in arrays.values())
    assert arrays["input_ids"].tolist() == [[0, 3, 4, 5, 1]]
    assert arrays["attention_mask"].tolist() == [[1] * 5]


def test_a_long_sentence_is_cut_and_keeps_its_special_tokens(tokenizer_path):
    preprocessing = TextPreprocessing(
        tokenizer=str(tokenizer_path), max_length=4, inputs=("input_ids",)
    )

    assert {k: v.tolist() for k, v in preprocessing.apply("a dog runs a").items()} == {
        "input_ids": [[0, 3, 4, 1]]
    }


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [("mean", [2.0, 3.0]), ("cls", [1.0, 2.0]), (None, [1.0, 2.0, 3.0, 4.0])],
)
def test_pooling_makes_one_embedding(pooling, expected):
    hidden = np.array([[[1.0, 2.0], [3.0, 4.0]]], dtype=np.float32)

    assert TextPreprocessing(tokenizer="t", pooling=pooling).pool(hidden).tolist() == expected


@pytest.mark.parametrize("content", [None, "not json"])
def test_a_missing_or_damaged_tokenizer_is_named(tmp_path, content):
    path = tmp_path / "tokenizer.json"
    if content is not None:
        path.write_text(content)

    with pytest.raises(DataError, match=r"tokenizer\.json"):
        TextPreprocessing(tokenizer=str(path)).apply("a")


def test_a_model_carries_its_preprocessing(tmp_path):
    carried = ImagePreprocessing(height=32, width=24, mean=(0.1, 0.2, 0.3), layout="NHWC")

    assert read_metadata({METADATA_KEY: carried.model_dump_json()}, tmp_path) == carried
    assert read_metadata({}, tmp_path) is None


def test_a_carried_tokenizer_lies_beside_the_model(tmp_path):
    carried = TextPreprocessing(tokenizer="m.tokenizer.json")

    read = read_metadata({METADATA_KEY: carried.model_dump_json()}, tmp_path)

    assert read == carried.model_copy(update={"tokenizer": str(tmp_path / "m.tokenizer.json")})


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{", "malformed"),
        (json.dumps({"kind": "sound"}), "kind"),
        (json.dumps({"kind": "image", "height": 0, "width": 1}), "height"),
        (json.dumps({"kind": "image", "height": 1, "width": 1, "gamma": 2}), "gamma"),
    ],
)
def test_a_malformed_entry_is_one_clear_line(tmp_path, entry, message):
    with pytest.raises(ModelError, match=message) as raised:
        read_metadata({METADATA_KEY: entry}, tmp_path)
    assert "\n" not in str(raised.value)
