"""What ``open_dataset`` recognizes, the order it keeps, and the one line it says otherwise."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ingot.data import open_dataset
from ingot.data.preprocessing import ImagePreprocessing, TextPreprocessing
from ingot.errors import DataError, UsageError

SMALL = ImagePreprocessing(height=4, width=4)


def save_image(path: Path, value: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(path)
    return path


@pytest.fixture
def class_folders(tmp_path):
    for label in (2, 0, 1):
        for index in range(4):
            save_image(tmp_path / "data" / str(label) / f"{index}.png", label * 10 + index)
    return tmp_path / "data"


class TestImages:
    def test_class_folders_give_labelled_examples_in_sorted_order(self, class_folders):
        dataset = open_dataset(class_folders, SMALL, ["x"])
        examples = list(dataset)
        assert [example.name for example in examples][:5] == [
            "0/0.png",
            "0/1.png",
            "0/2.png",
            "0/3.png",
            "1/0.png",
        ]
        assert [example.label for example in examples] == dataset.labels.tolist()
        assert dataset.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
        (inputs,) = examples[5].inputs
        assert inputs["x"].shape == (1, 3, 4, 4)
        assert inputs["x"].max() == pytest.approx(11 / 255)

    def test_flat_folder_has_no_labels_and_no_metrics(self, tmp_path):
        save_image(tmp_path / "a.jpeg")
        dataset = open_dataset(tmp_path, SMALL, ["x"])
        assert (len(dataset), dataset.labelled, dataset.metrics) == (1, False, ())
        assert dataset[0].label is None
        with pytest.raises(DataError, match=r"carries no labels.*class index"):
            _ = dataset.labels

    def test_default_metrics_of_labelled_images_are_top_1_and_top_5(self, class_folders):
        names = [metric.name for metric in open_dataset(class_folders, SMALL, ["x"]).metrics]
        assert names == ["top-1", "top-5"]

    def test_limit_is_spread_over_the_classes(self, class_folders):
        dataset = open_dataset(class_folders, SMALL, ["x"], limit=3)
        assert dataset.labels.tolist() == [0, 1, 2]

    def test_a_damaged_image_is_named_when_it_is_reached_and_not_before(self, class_folders):
        broken = save_image(class_folders / "1" / "1.png")
        broken.write_bytes(broken.read_bytes()[:40])
        dataset = open_dataset(class_folders, SMALL, ["x"])
        assert dataset[0].name == "0/0.png"
        with pytest.raises(DataError, match=r"1/1\.png.*cannot be decoded") as caught:
            list(dataset)
        assert "\n" not in str(caught.value)

    def test_an_image_smaller_than_the_crop_is_named(self, class_folders):
        preprocessing = ImagePreprocessing(height=8, width=8)
        with pytest.raises(DataError, match=r"0/0\.png.*smaller than the model's 8x8"):
            _ = open_dataset(class_folders, preprocessing, ["x"])[0]

    def test_hidden_files_and_other_files_are_passed_over(self, class_folders):
        (class_folders / "0" / ".DS_Store").write_bytes(b"")
        (class_folders / "0" / "notes.txt").write_text("")
        assert len(open_dataset(class_folders, SMALL, ["x"])) == 12

    def test_the_digest_follows_the_content_and_the_selection(self, class_folders):
        first = open_dataset(class_folders, SMALL, ["x"]).digest
        assert open_dataset(class_folders, SMALL, ["x"]).digest == first
        assert open_dataset(class_folders, SMALL, ["x"], limit=5).digest != first
        save_image(class_folders / "0" / "0.png", 99)
        assert open_dataset(class_folders, SMALL, ["x"]).digest != first


class TestArrays:
    def test_x_and_y_of_an_npz(self, tmp_path):
        x = np.arange(12, dtype=np.float32).reshape(4, 3)
        np.savez(tmp_path / "d.npz", x=x, y=np.array([0, 1, 2, 0]))
        dataset = open_dataset(tmp_path / "d.npz", None, ["input"])
        assert dataset.labels.tolist() == [0, 1, 2, 0]
        np.testing.assert_array_equal(dataset[2].inputs[0]["input"], x[2:3])
        assert dataset[2].label == 2

    def test_arrays_by_input_name(self, tmp_path):
        np.savez(tmp_path / "d.npz", a=np.zeros((2, 3)), b=np.ones((2, 1)))
        dataset = open_dataset(tmp_path / "d.npz", None, ["a", "b"])
        assert {name: array.shape for name, array in dataset[1].inputs[0].items()} == {
            "a": (1, 3),
            "b": (1, 1),
        }
        assert not dataset.labelled

    def test_raw_images_are_prepared(self, tmp_path):
        images = np.full((2, 4, 4, 3), 255, np.uint8)
        np.savez(tmp_path / "d.npz", images=images, labels=np.array([1, 0]))
        dataset = open_dataset(tmp_path / "d.npz", SMALL, ["x"])
        assert dataset[0].inputs[0]["x"].shape == (1, 3, 4, 4)
        assert dataset[0].inputs[0]["x"].max() == 1.0
        assert dataset.description == "2 images of d.npz"

    def test_images_packed_into_one_png(self, tmp_path):
        images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(images.reshape(12, 4, 3)).save(file, "PNG")
        packed = np.frombuffer(file.getvalue(), np.uint8)
        np.savez(tmp_path / "d.npz", images=packed, labels=np.array([1, 0, 2]))
        dataset = open_dataset(tmp_path / "d.npz", SMALL, ["x"])
        assert len(dataset) == 3
        np.testing.assert_array_equal(
            dataset[1].inputs[0]["x"], SMALL.apply(images[1]).astype(np.float32)
        )

    def test_a_packed_image_that_is_damaged_is_named(self, tmp_path):
        np.savez(tmp_path / "d.npz", images=np.zeros(9, np.uint8))
        with pytest.raises(DataError, match=r"'images' in .*d\.npz cannot be decoded"):
            open_dataset(tmp_path / "d.npz", SMALL, ["x"])

    def test_float_labels_have_no_default_metric(self, tmp_path):
        np.savez(tmp_path / "d.npz", x=np.zeros((2, 3)), y=np.array([0.5, 1.5]))
        assert open_dataset(tmp_path / "d.npz", None, ["x"]).metrics == ()

    def test_a_folder_of_array_files(self, tmp_path):
        for index in range(3):
            np.savez(tmp_path / f"{index}.npz", a=np.full((1, 2), index), y=np.int64(index))
        dataset = open_dataset(tmp_path, None, ["a"])
        assert dataset.labels.tolist() == [0, 1, 2]
        assert dataset[2].inputs[0]["a"].tolist() == [[2, 2]]
        assert dataset[2].label == 2

    def test_a_folder_of_npy_files_feeds_the_one_input(self, tmp_path):
        np.save(tmp_path / "0.npy", np.ones((1, 2), np.float32))
        dataset = open_dataset(tmp_path, None, ["a"])
        assert dataset[0].inputs[0]["a"].tolist() == [[1, 1]]
        with pytest.raises(DataError, match=r"holds one array, the model takes 2 inputs"):
            _ = open_dataset(tmp_path, None, ["a", "b"])[0]

    def test_a_label_missing_in_one_file_is_named(self, tmp_path):
        np.savez(tmp_path / "0.npz", a=np.zeros((1, 2)), y=np.int64(0))
        np.savez(tmp_path / "1.npz", a=np.zeros((1, 2)))
        with pytest.raises(DataError, match=r"1\.npz has no label"):
            open_dataset(tmp_path, None, ["a"])


class TestSentences:
    @pytest.fixture
    def preprocessing(self, tmp_path):
        tokenizers = pytest.importorskip("tokenizers")
        vocabulary = {"[UNK]": 0, "a": 1, "b": 2, "c": 3}
        tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
        path = tmp_path / "tokenizer.json"
        tokenizer.save(str(path))
        return TextPreprocessing(tokenizer=str(path), inputs=("input_ids",))

    def test_a_pair_takes_two_inferences(self, tmp_path, preprocessing):
        path = tmp_path / "sts.csv"
        path.write_text('"a b, c",c,4.5\nb,a,0.0\n')
        dataset = open_dataset(path, preprocessing, ["input_ids"])
        first, second = dataset[0].inputs
        assert first["input_ids"].shape == (1, 4)
        assert second["input_ids"].tolist() == [[3]]
        assert dataset.labels.tolist() == [4.5, 0.0]
        assert [metric.name for metric in dataset.metrics] == ["spearman"]

    def test_a_header_is_passed_over(self, tmp_path, preprocessing):
        path = tmp_path / "sts.tsv"
        path.write_text("first\tsecond\tscore\na\tb\t1\n")
        assert len(open_dataset(path, preprocessing, ["input_ids"])) == 1

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a,b,1\na,b\n", r"line 2 of .* has 2 columns, not 3"),
            ("a,b,1\na,b,high\n", r"line 2 of .*the score 'high' is no number"),
            ("a,b,nan\n", r"line 1 of .*is no number"),
            ("", r"is empty: it holds no sentence pairs"),
        ],
    )
    def test_a_wrong_line_is_named(self, tmp_path, preprocessing, text, message):
        path = tmp_path / "sts.csv"
        path.write_text(text)
        with pytest.raises(DataError, match=message):
            open_dataset(path, preprocessing, ["input_ids"])

    def test_without_a_tokenizer_there_is_no_way(self, tmp_path):
        path = tmp_path / "sts.csv"
        path.write_text("a,b,1\n")
        with pytest.raises(DataError, match="no text preprocessing"):
            open_dataset(path, SMALL, ["input_ids"])


class TestWithoutLabels:
    """For calibration, whatever stands where labels would is not read."""

    def test_images_may_lie_in_folders_of_any_name_and_depth(self, tmp_path):
        for name in ("n01440764/a.png", "b.png", "deep/er/c.JPEG", ".hidden/d.png"):
            save_image(tmp_path / name)
        (tmp_path / "readme.txt").write_text("no image")
        dataset = open_dataset(tmp_path, SMALL, ["x"], ignore_labels=True)
        assert [example.name for example in dataset] == [
            "b.png",
            "deep/er/c.JPEG",
            "n01440764/a.png",
        ]
        assert not dataset.labelled
        assert dataset[0].label is None

    def test_class_folders_lose_their_labels_and_keep_a_spread_limit(self, class_folders):
        dataset = open_dataset(class_folders, SMALL, ["x"], limit=3, classes=1, ignore_labels=True)
        assert [example.name for example in dataset] == ["0/0.png", "1/0.png", "2/0.png"]

    def test_arrays_may_carry_labels_of_any_kind(self, tmp_path):
        x = np.arange(6, dtype=np.float32).reshape(3, 2)
        np.savez(tmp_path / "data.npz", x=x, y=np.array(["a", "b", "c"]))
        dataset = open_dataset(tmp_path / "data.npz", None, ["x"], ignore_labels=True)
        assert (len(dataset), dataset.labelled) == (3, False)

    def test_array_files_may_lack_labels_here_and_there(self, tmp_path):
        np.savez(tmp_path / "a.npz", x=np.zeros((1, 2)), y=3)
        np.savez(tmp_path / "b.npz", x=np.ones((1, 2)))
        dataset = open_dataset(tmp_path, None, ["x"], ignore_labels=True)
        assert [float(example.inputs[0]["x"][0, 0]) for example in dataset] == [0.0, 1.0]
        assert not dataset.labelled

    def test_an_empty_folder_and_one_without_images_are_told(self, tmp_path):
        with pytest.raises(DataError, match="is empty; expected"):
            open_dataset(tmp_path, SMALL, ["x"], ignore_labels=True)
        (tmp_path / "folder").mkdir()
        with pytest.raises(DataError, match="holds no .jpg, .jpeg or .png images"):
            open_dataset(tmp_path, SMALL, ["x"], ignore_labels=True)


@pytest.mark.parametrize("ignore_labels", [False, True])
def test_one_array_of_examples(tmp_path, ignore_labels):
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.save(tmp_path / "data.npy", x)
    dataset = open_dataset(tmp_path / "data.npy", None, ["input"], ignore_labels=ignore_labels)
    np.testing.assert_array_equal([example.inputs[0]["input"][0] for example in dataset], x)


def nothing(folder):
    return folder / "absent"


def empty_folder(folder):
    (folder / "d").mkdir()
    return folder / "d"


def folder_without_images(folder):
    (folder / "d" / "0").mkdir(parents=True)
    return folder / "d"


def named_classes(folder):
    save_image(folder / "d" / "tench" / "1.png")
    return folder / "d"


def class_out_of_range(folder):
    save_image(folder / "d" / "7" / "1.png")
    return folder / "d"


def unknown_suffix(folder):
    (folder / "d.bin").write_bytes(b"")
    return folder / "d.bin"


def not_a_zip(folder):
    (folder / "d.npz").write_bytes(b"PK nonsense")
    return folder / "d.npz"


def arrays(**values):
    def write(folder):
        np.savez(folder / "d.npz", **values)
        return folder / "d.npz"

    return write


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(nothing, r"no data at .*absent: check the path", id="missing"),
        pytest.param(empty_folder, r"the folder .* is empty; expected", id="empty"),
        pytest.param(folder_without_images, r"holds no \.jpg", id="no images"),
        pytest.param(named_classes, r"tench is not named by a class index", id="named class"),
        pytest.param(class_out_of_range, r"/7 is out of range: the model has 3", id="range"),
        pytest.param(unknown_suffix, r"of a form that is not known; expected", id="form"),
        pytest.param(not_a_zip, r"cannot be read as NumPy arrays", id="damaged"),
        pytest.param(
            arrays(x=np.zeros((3, 1)), y=np.zeros(2, int)),
            r"do not match in length: input has 3, labels has 2",
            id="lengths",
        ),
        pytest.param(arrays(x=np.zeros((0, 1))), r"is empty: its arrays hold no", id="no rows"),
        pytest.param(
            arrays(x=np.zeros((1 << 50, 0))), r"is empty: its arrays hold no", id="rows of nothing"
        ),
        pytest.param(arrays(z=np.zeros(3)), r"holds 'z', not the model's input", id="names"),
        pytest.param(
            arrays(x=np.zeros((2, 1)), y=np.array([0, 3])),
            r"label 3 in .* is out of range: the model has 3 classes \(0 to 2\)",
            id="label range",
        ),
        pytest.param(
            arrays(x=np.zeros((2, 1)), y=np.array([0, -1])), r"label -1 .* negative", id="negative"
        ),
        pytest.param(
            arrays(x=np.zeros((1, 1)), y=np.array(["cat"])), r"not numbers", id="text labels"
        ),
        pytest.param(
            arrays(images=np.zeros((1, 4, 4, 3), np.float32)), r"must be uint8", id="float images"
        ),
    ],
)
def test_data_that_cannot_be_used_gets_one_line(tmp_path, make, message):
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(make(tmp_path), SMALL, ["input"], classes=3)
    assert "\n" not in str(caught.value)


def test_images_need_preprocessing(class_folders):
    with pytest.raises(DataError, match="carries no image preprocessing"):
        open_dataset(class_folders, None, ["x"])


def test_images_need_a_model_with_one_input(class_folders):
    with pytest.raises(DataError, match=r"takes 2 inputs \(x, mask\)"):
        open_dataset(class_folders, SMALL, ["x", "mask"])


def test_labels_can_be_required(tmp_path):
    save_image(tmp_path / "a.png")
    with pytest.raises(DataError, match="carries no labels"):
        open_dataset(tmp_path, SMALL, ["x"], require_labels=True)


def test_a_limit_must_be_positive(class_folders):
    with pytest.raises(UsageError, match="limit of 0"):
        open_dataset(class_folders, SMALL, ["x"], limit=0)
