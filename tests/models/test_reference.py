"""The catalogue's entries are complete and say where each model comes from."""

import base64

import pytest

from ingot.data.preprocessing import ImagePreprocessing, TextPreprocessing
from ingot.models.reference import REFERENCE_MODELS

each_model = pytest.mark.parametrize("model", REFERENCE_MODELS.values(), ids=REFERENCE_MODELS)


def test_all_reference_models_are_there():
    assert set(REFERENCE_MODELS) == {
        "cifar_resnet",
        "mobilenetv2",
        "resnet50",
        "efficientnet_b0",
        "efficientnet_lite0",
        "minilm",
        "gte_small",
        "mpnet_base",
        "bert_base",
    }


@each_model
def test_each_has_its_preprocessing_licence_and_one_line_of_summary(model):
    expected = ImagePreprocessing if model.task == "image classification" else TextPreprocessing
    assert isinstance(model.preprocessing, expected) or model.speed_only
    assert model.licence
    assert "\n" not in model.summary
    assert model.size > 100_000


@each_model
def test_each_package_is_pinned_by_a_whole_digest(model):
    for package in model.packages:
        if package.registry == "pypi":
            assert len(bytes.fromhex(package.digest)) == 32
        else:
            assert len(base64.b64decode(package.digest, validate=True)) == 64
        assert package.digest in model.source
        assert package.name in model.source
    assert model.download_size == sum(package.size for package in model.packages)


def test_random_weights_are_called_so():
    speed_only = [model for model in REFERENCE_MODELS.values() if model.speed_only]

    assert [model.name for model in speed_only] == ["bert_base"]
    assert "random weights" in speed_only[0].summary
    assert "random weights" in speed_only[0].source
