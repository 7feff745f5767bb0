"""A name or a path becomes an ONNX file, exported once and whole."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from ingot.errors import IngotError, ModelError, UsageError
from ingot.models.catalog import (
    REFERENCE_MODELS,
    cached_path,
    resolve,
    write_export,
)


def files_in(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


def metadata_of(path):
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_a_reference_model_is_exported_once(tiny, tmp_path):
    assert cached_path(tiny.model) is None

    first, second = resolve("tiny"), resolve("tiny")

    assert tiny.exports == 1
    assert first == second
    assert first.name == "tiny"
    assert first.path == cached_path(tiny.model)
    onnx.checker.check_model(first.path, full_check=True)
    tokenizer = Path(first.preprocessing.tokenizer)
    assert tokenizer.read_bytes() == b'{"tiny": 1}'
    seal = first.path.with_name(f"{first.path.name}.sha256")
    assert files_in(tmp_path / "cache") == sorted([first.path, seal, tokenizer])


def test_the_exported_file_carries_what_the_catalogue_knows(tiny):
    source = resolve("tiny")

    metadata = metadata_of(source.path)

    assert metadata["ingot.model"] == "tiny"
    assert metadata["ingot.licence"] == "Apache-2.0"
    assert metadata["ingot.origin"] == tiny.model.source
    assert resolve(source.path).preprocessing == source.preprocessing


@pytest.mark.parametrize(
    "change",
    [
        {"licence": "MIT"},
        {"preprocessing": None},
        {"speed_only": True},
    ],
)
def test_a_changed_entry_reads_no_old_file(tiny, monkeypatch, change):
    old = resolve("tiny").path
    monkeypatch.setitem(REFERENCE_MODELS, "tiny", dataclasses.replace(tiny.model, **change))

    assert resolve("tiny").path != old
    assert tiny.exports == 2


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), IngotError("no network")])
def test_an_export_that_fails_leaves_nothing_and_can_be_repeated(tiny, tmp_path, failure):
    tiny.failure = failure
    with pytest.raises(type(failure)):
        resolve("tiny")
    assert files_in(tmp_path) == []

    tiny.failure = None
    assert resolve("tiny").path.is_file()


def flip_a_weight(source):
    content = bytearray(source.path.read_bytes())
    content[content.index(np.eye(4, dtype=np.float32).tobytes())] ^= 0xFF
    source.path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_weight,
        lambda source: source.path.write_bytes(b""),
        lambda source: source.path.with_name(f"{source.path.name}.sha256").unlink(),
        lambda source: source.path.with_name(f"{source.path.name}.sha256").write_bytes(b"\xff"),
        lambda source: Path(source.preprocessing.tokenizer).write_text("{}"),
        lambda source: Path(source.preprocessing.tokenizer).unlink(),
    ],
    ids=["weight", "empty", "no seal", "damaged seal", "tokenizer", "no tokenizer"],
)
def test_a_damaged_model_in_the_cache_is_made_again_and_told(tiny, damage):
    first = resolve("tiny")
    intact = first.path.read_bytes()
    assert first.notes == ()
    damage(first)

    again = resolve("tiny")

    assert tiny.exports == 2
    assert len(again.notes) == 1
    assert again.notes[0].endswith("tiny was made again")
    assert again.path.read_bytes() == intact
    assert Path(again.preprocessing.tokenizer).read_bytes() == b'{"tiny": 1}'
    assert resolve("tiny") == first


def test_another_model_under_the_name_of_one_is_told(tiny, monkeypatch):
    old = resolve("tiny").path
    monkeypatch.setitem(REFERENCE_MODELS, "tiny", dataclasses.replace(tiny.model, licence="MIT"))
    new = resolve("tiny").path
    for path in (new, new.with_name(f"{new.name}.sha256")):
        path.write_bytes(old.with_name(path.name.replace(new.stem, old.stem)).read_bytes())

    source = resolve("tiny")

    assert source.notes
    assert metadata_of(source.path)["ingot.licence"] == "MIT"


def test_a_damaged_model_that_cannot_be_made_again_is_refused(tiny):
    flip_a_weight(resolve("tiny"))
    tiny.failure = IngotError("no network")

    with pytest.raises(IngotError, match="no network"):
        resolve("tiny")


def test_a_damaged_bundled_model_is_refused(monkeypatch, tmp_path):
    bundled = REFERENCE_MODELS["cifar_resnet"]
    folder = shutil.copytree(bundled.bundled.parent, tmp_path / "bundled")
    copies = {
        field: folder / getattr(bundled, field).name
        for field in ("bundled", "default_dataset", "default_calibration")
    }
    monkeypatch.setitem(REFERENCE_MODELS, "cifar_resnet", dataclasses.replace(bundled, **copies))
    assert resolve("cifar_resnet").path == copies["bundled"]
    for path in copies.values():
        intact = path.read_bytes()
        path.write_bytes(intact[:-1] + bytes([intact[-1] ^ 1]))
        with pytest.raises(ModelError, match=f"{path.name} is damaged, which .* install Ingot"):
            resolve("cifar_resnet")
        path.write_bytes(intact)


def test_random_weights_are_known_by_name_and_by_file(tiny, monkeypatch):
    monkeypatch.setitem(REFERENCE_MODELS, "tiny", dataclasses.replace(tiny.model, speed_only=True))

    source = resolve("tiny")

    assert source.speed_only
    assert resolve(source.path).speed_only


def test_an_exported_file_has_its_tokenizer_beside_it(tiny, tmp_path):
    output = tmp_path / "out" / "mine.onnx"

    write_export("tiny", output)

    assert files_in(tmp_path / "out") == [output, tmp_path / "out" / "mine.tokenizer.json"]
    moved = (tmp_path / "out").rename(tmp_path / "moved")
    preprocessing = resolve(moved / "mine.onnx").preprocessing
    assert preprocessing.tokenizer == str(moved / "mine.tokenizer.json")


def test_the_bundled_model_needs_no_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("INGOT_CACHE_DIR", str(tmp_path / "cache"))

    source = resolve("cifar_resnet")

    assert source.path.is_file()
    assert source.default_dataset.is_file()
    assert source.preprocessing.height == 32
    assert not (tmp_path / "cache").exists()


def test_the_bundled_model_carries_its_preprocessing_when_exported(tmp_path):
    write_export("cifar_resnet", tmp_path / "c.onnx")

    assert resolve(tmp_path / "c.onnx").preprocessing == resolve("cifar_resnet").preprocessing


def test_a_path_is_taken_as_it_is(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [])), path)

    source = resolve(path)

    assert (source.path, source.name, source.preprocessing) == (path, "net", None)


@pytest.mark.parametrize(
    ("name", "nearest"), [("mobilenet", "mobilenetv2"), ("resnet-50", "resnet50"), ("zzz", None)]
)
def test_an_unknown_name_tells_the_nearest_and_all(name, nearest):
    with pytest.raises(UsageError) as raised:
        resolve(name)

    message = str(raised.value)
    assert message.startswith(f"{name!r} is neither a file nor a reference model")
    assert (f"did you mean {nearest!r}?" in message) == (nearest is not None)
    assert all(known in message for known in REFERENCE_MODELS)
    assert "\n" not in message


@pytest.mark.parametrize("missing", ["net.onnx", "folder/net", "./net"])
def test_a_path_to_nothing_is_a_missing_file(missing, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(ModelError, match="there is no file"):
        resolve(missing if missing != "./net" else f"{tmp_path}/net")


def test_a_folder_or_a_file_of_something_else_is_refused(tmp_path):
    with pytest.raises(ModelError, match="is a folder"):
        resolve(tmp_path)
    (tmp_path / "x.onnx").write_bytes(b"\xff\xfe not onnx")
    with pytest.raises(ModelError, match=r"x\.onnx is not an ONNX model") as raised:
        resolve(tmp_path / "x.onnx")
    assert "\n" not in str(raised.value)


def test_a_model_of_a_checkpoint_says_how_to_export_it():
    with pytest.raises(UsageError, match="ingot models export resnet8 --checkpoint pretrained"):
        resolve("resnet8")
