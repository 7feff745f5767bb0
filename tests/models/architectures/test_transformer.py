"""BERT and MPNet at a small size: masks, positions and the sizes of the published networks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingot.models.architectures.transformer import (
    build_bert,
    build_mpnet,
    random_bert_weights,
    relative_position_buckets,
)

VOCABULARY = 50


def bert_weights():
    weights = random_bert_weights(3, layers=2, hidden=128, vocabulary=VOCABULARY)
    return {key: array * (5 if array.ndim == 2 else 1) for key, array in weights.items()}


def mpnet_weights():
    generator = np.random.default_rng(4)
    weights = {
        key.replace("attention.self.query", "attention.attn.q")
        .replace("attention.self.key", "attention.attn.k")
        .replace("attention.self.value", "attention.attn.v")
        .replace("attention.output.dense", "attention.attn.o")
        .replace("attention.output.LayerNorm", "attention.LayerNorm"): array
        for key, array in bert_weights().items()
        if "token_type" not in key
    }
    bias = generator.standard_normal((32, 2), dtype=np.float32)
    return weights | {"encoder.relative_attention_bias.weight": bias}


@pytest.fixture(params=["bert", "mpnet"])
def family(request):
    """The family's model and a function that makes its inputs of ids and a mask."""

    def inputs(ids, mask):
        arrays = {"input_ids": ids, "attention_mask": mask}
        if request.param == "bert":
            arrays["token_type_ids"] = np.zeros_like(ids)
        return arrays

    if request.param == "bert":
        return build_bert(bert_weights()), inputs
    return build_mpnet(mpnet_weights()), inputs


def tokens(length, seed=0):
    return np.random.default_rng(seed).integers(0, VOCABULARY, (1, length))


@pytest.mark.parametrize("length", [1, 7, 150])
def test_any_batch_and_length_gives_a_hidden_state_per_token(family, run_text, length):
    model, inputs = family
    ids = np.concatenate([tokens(length, seed) for seed in (0, 1)])

    hidden = run_text(model, **inputs(ids, np.ones_like(ids)))
    second = run_text(model, **inputs(ids[1:], np.ones_like(ids[1:])))

    assert hidden.shape == (2, length, 128)
    np.testing.assert_allclose(hidden[1:], second, atol=1e-5)


def test_padding_at_the_end_changes_nothing_for_the_tokens_before_it(family, run_text):
    model, inputs = family
    ids = tokens(9)
    padded = np.concatenate([ids, tokens(5, seed=9)], axis=1)
    mask = (np.arange(14) < 9).astype(np.int64)[np.newaxis]

    alone = run_text(model, **inputs(ids, np.ones_like(ids)))
    together = run_text(model, **inputs(padded, mask))
    unmasked = run_text(model, **inputs(padded, np.ones_like(padded)))

    np.testing.assert_allclose(together[:, :9], alone, atol=1e-5)
    assert np.abs(unmasked[:, :9] - alone).max() > 1e-3


def test_the_order_of_tokens_matters(family, run_text):
    model, inputs = family
    ids = np.array([[1, 2, 3, 4]])
    swapped = ids[:, [0, 2, 1, 3]]

    first = run_text(model, **inputs(ids, np.ones_like(ids)))
    second = run_text(model, **inputs(swapped, np.ones_like(ids)))

    assert np.abs(first[0, 3] - second[0, 3]).max() > 1e-4


def test_segments_matter_to_bert(run_text):
    model, ids = build_bert(bert_weights()), tokens(4)
    mask = np.ones_like(ids)

    first = run_text(model, input_ids=ids, attention_mask=mask, token_type_ids=mask * 0)
    second = run_text(model, input_ids=ids, attention_mask=mask, token_type_ids=mask)

    assert np.abs(first - second).max() > 1e-3


def test_mpnets_bias_depends_on_the_distance_alone(run_text):
    weights = mpnet_weights()
    weights["embeddings.position_embeddings.weight"][:] = 0
    model = build_mpnet(weights)
    ids = tokens(12)
    mask = np.ones_like(ids)
    mask[:, :4] = 0  # what attends to the rest does not see where it begins

    shifted = run_text(model, input_ids=ids, attention_mask=mask)[:, 4:]
    alone = run_text(model, input_ids=ids[:, 4:], attention_mask=mask[:, 4:])

    np.testing.assert_allclose(shifted, alone, atol=1e-5)


@pytest.mark.parametrize(
    ("distance", "bucket"),
    [
        (0, 0),
        (-1, 1),
        (-7, 7),
        (-8, 8),
        (-11, 8),
        (-12, 9),
        (-127, 15),
        (-511, 15),
        (1, 17),
        (7, 23),
        (8, 24),
        (128, 31),
        (511, 31),
    ],
)
def test_buckets_of_t5(distance, bucket):
    assert relative_position_buckets(np.array([distance])).tolist() == [bucket]


@settings(deadline=None)
@given(st.integers(-600, 599))
def test_buckets_grow_with_the_distance_on_either_side(distance):
    near, far = relative_position_buckets(np.array([distance, distance + np.sign(distance)]))

    assert 0 <= near <= far < 32
    assert (near >= 16) == (distance > 0)


def test_random_weights_are_those_of_the_seed():
    first, again, other = (
        random_bert_weights(seed, layers=1, hidden=64, vocabulary=5) for seed in (0, 0, 1)
    )
    name = "encoder.layer.0.output.dense.weight"

    np.testing.assert_array_equal(first[name], again[name])
    assert (first[name] != other[name]).any()
    assert first[name].std() == pytest.approx(0.02, rel=0.05)


def test_the_defaults_are_bert_bases_sizes():
    weights = random_bert_weights(0, layers=1, vocabulary=2)

    layer = sum(a.size for key, a in weights.items() if key.startswith("encoder"))
    others = sum(a.size for key, a in weights.items() if key.startswith("embeddings"))
    words, pooler = (30_522 - 2) * 768, 768 * 768 + 768
    assert others + words + 12 * layer + pooler == 109_482_240  # BERT-base uncased


@settings(max_examples=5, deadline=None)
@given(layers=st.integers(0, 3), heads=st.integers(1, 3))
def test_depth_and_width_follow_the_weights(layers, heads):
    weights = random_bert_weights(0, layers=layers, hidden=64 * heads, vocabulary=5)

    model = build_bert(weights)

    softmaxes = [node for node in model.graph if node.op_type == "Softmax"]
    assert len(softmaxes) == layers
    assert model.graph.outputs[0].shape[2] == 64 * heads
