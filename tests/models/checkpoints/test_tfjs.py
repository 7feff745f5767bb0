"""The weights of a TensorFlow.js model are what its manifest says, and all of them."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ingot.errors import ModelError
from ingot.models.checkpoints.tfjs import read_model_json, read_weights


def manifest(weights, paths=("a.bin",)):
    entries = [
        {"name": name, "shape": list(array.shape), "dtype": array.dtype.name}
        for name, array in weights.items()
    ]
    return {"modelTopology": {}, "weightsManifest": [{"paths": list(paths), "weights": entries}]}


arrays = st.sampled_from([np.float32, np.int32]).flatmap(
    lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, max_dims=4, max_side=4))
)


@settings(deadline=None)
@given(
    weights=st.dictionaries(st.text("abc/", min_size=1), arrays, min_size=1),
    data=st.data(),
)
def test_weights_come_back_wherever_the_shards_are_cut(weights, data):
    content = b"".join(array.tobytes() for array in weights.values())
    cut = data.draw(st.integers(0, len(content)))
    shards = {"a.bin": content[:cut], "b.bin": content[cut:]}

    read = read_weights(manifest(weights, shards), shards.__getitem__, "m")

    assert list(read) == list(weights)
    for name, array in weights.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


@pytest.mark.parametrize(("change", "message"), [(-1, "end within 'w'"), (1, "1 bytes more")])
def test_shards_that_are_too_short_or_too_long_are_refused(change, message):
    model = manifest({"w": np.zeros(2, np.float32)})

    with pytest.raises(ModelError, match=message):
        read_weights(model, lambda _: b"\0" * (8 + change), "m")


@pytest.mark.parametrize("entry", [{"dtype": "string"}, {"quantization": {"dtype": "uint8"}}])
def test_weights_that_are_not_plain_numbers_are_refused(entry):
    model = manifest({"w": np.zeros(2, np.float32)})
    model["weightsManifest"][0]["weights"][0].update(entry)

    with pytest.raises(ModelError, match="weight 'w'"):
        read_weights(model, lambda _: b"\0" * 8, "m")


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", json.dumps({"format": "x"}).encode()])
def test_a_file_that_is_no_such_model_is_named(content):
    with pytest.raises(ModelError, match=r"model\.json"):
        read_model_json(content, "model.json")
