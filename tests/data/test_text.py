"""Sentences to calibrate with are found in text and in tables of any form."""

import numpy as np
import pytest
import tokenizers

from ingot.data import open_dataset
from ingot.data.preprocessing import TextPreprocessing
from ingot.errors import DataError


@pytest.fixture
def preprocessing(tmp_path):
    vocabulary = {"[UNK]": 0, "good": 1, "bad": 2, "film": 3, "[PAD]": 7}
    model = tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return TextPreprocessing(
        tokenizer=str(tmp_path / "tokenizer.json"), inputs=("input_ids", "attention_mask")
    )


def tokens_of(path, preprocessing, **options):
    dataset = open_dataset(
        path, preprocessing, ["input_ids", "attention_mask"], ignore_labels=True, **options
    )
    return [example.inputs[0]["input_ids"][0].tolist() for example in dataset]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.txt", "good film\n\nbad\n", [[1, 3], [2]]),
        ("a.txt", "\ufeffgood\r\nbad film", [[1], [2, 3]]),
        ("sst2.tsv", "label\ttext_a\n1\tgood film\n0\tbad\n", [[1, 3], [2]]),
        ("headless.tsv", "1\tgood film\n0\tbad\n", [[1, 3], [2]]),
        ("sts.csv", 'good,"bad, film",4.5\nfilm,good,1\n', [[1], [2, 0, 3], [3], [1]]),
        ("named.csv", "first,second,score\ngood,bad,1.0\n", [[1], [2]]),
        ("one.csv", "sentence\ngood\nbad\n", [[1], [2]]),
        ("holes.csv", "good,1\n,2\nbad,3\n", [[1], [2]]),
        ("ragged.csv", "good,1\nbad\n", [[1], [2]]),
    ],
)
def test_every_sentence_is_one_example(tmp_path, preprocessing, name, text, expected):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert tokens_of(path, preprocessing) == expected


def test_a_limit_is_spread_and_the_digest_follows_it(tmp_path, preprocessing):
    path = tmp_path / "a.txt"
    path.write_text("good\nbad\nfilm\ngood film\n")
    assert tokens_of(path, preprocessing, limit=2) == [[1], [3]]
    digests = {
        open_dataset(path, preprocessing, ["input_ids"], limit=limit, ignore_labels=True).digest
        for limit in (2, 4)
    }
    assert len(digests) == 2


def test_a_sentence_is_named_by_its_line_and_has_no_label(tmp_path, preprocessing):
    path = tmp_path / "a.txt"
    path.write_text("good\n\nbad\n")
    dataset = open_dataset(path, preprocessing, ["input_ids"], ignore_labels=True)
    assert [example.name for example in dataset] == ["line 1", "line 3"]
    assert dataset.description == "2 sentences of a.txt"
    assert not dataset.labelled
    with pytest.raises(DataError, match="carries no labels"):
        _ = dataset.labels


def test_padding_is_the_tokenizers(tmp_path, preprocessing):
    path = tmp_path / "a.txt"
    path.write_text("good\n")
    dataset = open_dataset(path, preprocessing, ["input_ids"], ignore_labels=True)
    assert dataset.padding == {"input_ids": 7, "attention_mask": 0}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"\n \n", "holds no sentences"),
        ("a.csv", b"", "holds no sentences"),
        ("a.csv", b"1,2\n3,4\n", "holds numbers alone, no column of sentences"),
        ("a.txt", b"\xff\xfe\xff", "is no text in UTF-8"),
    ],
)
def test_what_holds_no_sentences_is_refused(tmp_path, preprocessing, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        tokens_of(path, preprocessing)


def test_sentences_need_a_tokenizer(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("good\n")
    with pytest.raises(DataError, match="carries no text preprocessing"):
        open_dataset(path, None, ["input_ids"], ignore_labels=True)


def test_a_text_file_is_no_labelled_data(tmp_path, preprocessing):
    path = tmp_path / "a.txt"
    path.write_text("good\n")
    with pytest.raises(DataError, match="sentences without scores, good to calibrate with"):
        open_dataset(path, preprocessing, ["input_ids"])


def test_tokens_are_int64_with_a_batch_axis(tmp_path, preprocessing):
    path = tmp_path / "a.txt"
    path.write_text("good film\n")
    (example,) = open_dataset(path, preprocessing, ["input_ids"], ignore_labels=True)
    (inputs,) = example.inputs
    assert inputs["input_ids"].dtype == np.int64
    assert inputs["input_ids"].shape == (1, 2)
