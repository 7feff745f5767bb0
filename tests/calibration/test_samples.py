"""Any form of data gives the same samples as often as they are asked for."""

import gc
import tempfile

import numpy as np
import pytest
from PIL import Image

from ingot.calibration.samples import open_samples
from ingot.data import Dataset, Example, open_dataset
from ingot.data.preprocessing import ImagePreprocessing
from ingot.errors import DataError, UsageError


class Numbers(Dataset):
    """Examples of one or two inferences that hold their own number."""

    def __init__(self, count, inferences=1):
        self.description = f"{count} numbers"
        self._count, self._inferences = count, inferences

    def __len__(self):
        return self._count

    def __getitem__(self, index):
        return Example(f"number {index}", tuple(entry(index) for _ in range(self._inferences)), 1)

    labelled = True
    labels = None

    def _content(self):
        yield str(self._count).encode()


def entry(number):
    return {"x": np.full((1, 2), number, np.float32), "n": np.array([number])}


def numbers_of(samples):
    return [int(sample.inputs["n"][0]) for sample in samples]


def generator(count=10):
    return (entry(number) for number in range(count))


FORMS = {
    "data set": lambda: Numbers(10),
    "list": lambda: list(generator()),
    "tuple": lambda: tuple(generator()),
    "generator": generator,
    "iterable": lambda: {number: entry(number) for number in range(10)}.values(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_can_be_read_again_and_again(form):
    samples = open_samples(FORMS[form]())
    assert numbers_of(samples) == numbers_of(samples) == list(range(10))
    assert samples.count() == 10
    first = next(iter(samples))
    np.testing.assert_array_equal(first.inputs["x"], np.zeros((1, 2), np.float32))
    assert first.inputs["x"].dtype == np.float32


@pytest.mark.parametrize(
    ("form", "expected"),
    [("data set", [0, 3, 6]), ("list", [0, 3, 6]), ("generator", [0, 1, 2])],
)
def test_a_limit_is_spread_evenly_where_all_are_at_hand(form, expected):
    samples = open_samples(FORMS[form](), limit=3)
    assert numbers_of(samples) == expected
    assert samples.count() == 3
    assert "3" in samples.description


@pytest.mark.parametrize("form", FORMS)
def test_a_part_is_spread_evenly_over_all(form):
    samples = open_samples(FORMS[form]())
    assert numbers_of(samples.take(3)) == [0, 3, 6]
    assert numbers_of(samples.take(99)) == list(range(10))


@pytest.mark.parametrize(("limit", "expected"), [(1, [0]), (2, [0, 0]), (3, [0, 0, 1])])
def test_a_part_of_pairs_holds_no_more_samples_than_asked_for(limit, expected):
    assert numbers_of(open_samples(Numbers(3, inferences=2)).take(limit)) == expected


@pytest.mark.parametrize("form", ["list", "generator", "iterable"])
def test_arrays_of_equal_content_have_one_digest(form):
    digest = open_samples(list(generator())).digest()
    assert open_samples(FORMS[form]()).digest() == digest
    assert open_samples(list(generator(9))).digest() != digest
    changed = list(generator())
    changed[3]["x"][0, 0] += 1
    assert open_samples(changed).digest() != digest


def test_the_digest_of_a_data_set_follows_the_selection():
    digests = {open_samples(Numbers(10), limit).digest() for limit in (None, 3, 4)}
    assert len(digests) == 3
    assert open_samples(Numbers(10), 10).digest() in digests


def test_the_digest_of_a_data_set_follows_the_preparation(tmp_path):
    Image.fromarray(np.full((4, 4, 3), 100, np.uint8)).save(tmp_path / "a.png")
    digests = set()
    for scale in (1.0, 0.5, 1.0):
        preprocessing = ImagePreprocessing(height=4, width=4, scale=scale)
        dataset = open_dataset(tmp_path, preprocessing, ["x"], ignore_labels=True)
        digests.add(open_samples(dataset).digest())
    assert len(digests) == 2


def test_a_pair_is_two_samples():
    samples = open_samples(Numbers(3, inferences=2))
    assert numbers_of(samples) == [0, 0, 1, 1, 2, 2]
    assert samples.count() == 6


def test_a_loader_that_shuffles_is_read_once():
    reads = []

    class Shuffling:
        def __iter__(self):
            reads.append(len(reads))
            return iter(
                [entry(number) for number in np.random.default_rng(len(reads)).permutation(9)]
            )

    samples = open_samples(Shuffling())
    assert numbers_of(samples) == numbers_of(samples)
    assert samples.digest() and reads == [0]


def test_two_readers_of_one_generator_do_not_disturb_each_other():
    samples = open_samples(generator())
    first, second = iter(samples), iter(samples)
    pairs = [(next(first), next(second)) for _ in range(3)]
    assert [numbers_of(pair) for pair in pairs] == [[0, 0], [1, 1], [2, 2]]


def test_a_generator_is_read_no_further_than_the_limit():
    def endless():
        number = 0
        while True:
            yield entry(number)
            number += 1

    assert numbers_of(open_samples(endless(), limit=4)) == [0, 1, 2, 3]


def test_nothing_is_left_in_the_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    samples = open_samples(generator())
    assert len(numbers_of(samples)) == 10
    del samples
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_lists_become_arrays():
    (sample,) = open_samples([{"x": [[1.0, 2.0]]}])
    np.testing.assert_array_equal(sample.inputs["x"], [[1.0, 2.0]])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([entry(0), 3], "sample 1 is a int, not a mapping from input name to array"),
        ([entry(0), (1, 2)], "sample 1 is a tuple, not a mapping"),
        ([{"x": [[1], [1, 2]]}], "input 'x' of sample 0 cannot become a NumPy array"),
        ([{"x": np.array([None])}], "input 'x' of sample 0 is no array of numbers"),
        (iter([entry(0), None]), "sample 1 is a NoneType, not a mapping"),
    ],
)
def test_a_sample_that_is_none_is_named(data, message):
    with pytest.raises(DataError, match=message):
        list(open_samples(data))


@pytest.mark.parametrize("data", ["folder", b"x", 3, None, {"x": np.zeros(3)}])
def test_data_of_no_known_kind_is_refused(data):
    with pytest.raises(UsageError, match="calibration data cannot be a .*iterable of mappings"):
        open_samples(data)


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_must_be_positive(limit):
    with pytest.raises(UsageError, match="give 1 or more"):
        open_samples([], limit)
