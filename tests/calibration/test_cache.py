"""Statistics are found again exactly by what they come from, and by nothing else."""

import dataclasses
import io
import json

import numpy as np
import onnx_ir as ir
import pytest

from ingot.cached import DamagedCacheError, read_entry, write_entry
from ingot.calibration import cache as module
from ingot.calibration.cache import StatisticsCache, model_digest
from ingot.calibration.observer import Observer
from ingot.calibration.statistics import TensorStatistics
from ingot.errors import IngotError
from tests.graphs import parse

TEXT = """<ir_version: 10, opset_import: ["":21]>
g (float[N, 4] x) => (float[N, 4] y) <float[4] w = {1, 2, 3, 4}> {
 a = Mul(x, w)
 y = Relu(a)
}"""


def statistics_of(*shape):
    observer = Observer("t")
    for seed in range(3):
        values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
        observer.update(values, "s")
    return observer.finish()


FOUND = {"a": statistics_of(2, 3, 4, 4), "weird/name:0": statistics_of(7)}


def flat(statistics: TensorStatistics):
    return [
        np.asarray(value).tolist() if value is not None else None
        for part in (statistics, statistics.histogram, statistics.channels)
        if part is not None
        for value in vars(part).values()
        if not dataclasses.is_dataclass(value)
    ]


@pytest.fixture
def model():
    return parse(TEXT)


def test_what_is_stored_comes_back_bit_by_bit(tmp_path, model):
    StatisticsCache(tmp_path / "new", model, "data").store(FOUND)
    found = StatisticsCache(tmp_path / "new", model, "data").load()
    assert list(found) == list(FOUND)
    for name, statistics in FOUND.items():
        assert flat(found[name]) == flat(statistics)


def test_a_new_cache_is_empty(tmp_path, model):
    assert StatisticsCache(tmp_path, model, "data").load() == {}
    assert list(tmp_path.iterdir()) == []


def change_weight(model):
    model.graph.initializers["w"].const_value = ir.tensor(np.ones(4, np.float32), name="w")


def change_operator(model):
    model.graph.node(1).op_type = "Neg"


def change_attribute(model):
    model.graph.node(1).attributes["alpha"] = ir.AttrFloat32("alpha", 0.5)


@pytest.mark.parametrize("change", [change_weight, change_operator, change_attribute])
def test_another_model_has_another_digest(model, change):
    before = model_digest(model)
    assert model_digest(parse(TEXT)) == before
    change(model)
    assert model_digest(model) != before


def test_taking_the_digest_does_not_change_the_model(model):
    before = ir.to_proto(model).SerializeToString()
    model_digest(model)
    assert ir.to_proto(model).SerializeToString() == before


def test_other_data_another_version_and_other_code_are_other_files(tmp_path, model, monkeypatch):
    paths = [StatisticsCache(tmp_path, model, data).path for data in ("one", "two")]
    monkeypatch.setattr(module.importlib.metadata, "version", lambda name: "99")
    paths.append(StatisticsCache(tmp_path, model, "one").path)
    monkeypatch.setattr(module, "_counting_digest", lambda: b"other")
    paths.append(StatisticsCache(tmp_path, model, "one").path)
    assert len(set(paths)) == 4


@pytest.mark.parametrize(
    "damage",
    [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"no zip" + data[6:]],
    ids=["empty", "cut short", "overwritten"],
)
def test_a_damaged_file_is_told(tmp_path, model, damage):
    cache = StatisticsCache(tmp_path, model, "data")
    cache.store(FOUND)
    cache.path.write_bytes(damage(cache.path.read_bytes()))
    with pytest.raises(DamagedCacheError, match=r"\.statistics is damaged"):
        cache.load()


def test_a_flipped_byte_is_told(tmp_path, model):
    cache = StatisticsCache(tmp_path, model, "data")
    cache.store(FOUND)
    data = bytearray(cache.path.read_bytes())
    data[len(data) // 3] ^= 0xFF
    cache.path.write_bytes(bytes(data))
    with pytest.raises(DamagedCacheError, match="is damaged"):
        cache.load()


def test_statistics_that_something_else_wrote_are_told(tmp_path, model):
    cache = StatisticsCache(tmp_path, model, "data")
    cache.store(FOUND)
    with np.load(io.BytesIO(read_entry(cache.path))) as stored:
        arrays = dict(stored)
    facts = json.loads(arrays["facts"].tobytes())
    for fact in facts:
        fact["maximum"] *= 100
    arrays["facts"] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    with cache.path.open("wb") as file:
        np.savez_compressed(file, **arrays)

    with pytest.raises(DamagedCacheError, match="is damaged"):
        cache.load()


def test_statistics_of_other_data_under_this_name_are_told(tmp_path, model):
    other, cache = (StatisticsCache(tmp_path, model, data) for data in ("other", "data"))
    other.store(FOUND)
    other.path.rename(cache.path)
    with pytest.raises(DamagedCacheError, match="is damaged"):
        cache.load()


def test_an_entry_without_statistics_is_told(tmp_path, model):
    cache = StatisticsCache(tmp_path, model, "data")
    write_entry(cache.path, b"whole, but none")
    with pytest.raises(DamagedCacheError, match="holds no statistics"):
        cache.load()


def test_an_interrupted_write_leaves_the_old_file(tmp_path, model, monkeypatch):
    cache = StatisticsCache(tmp_path, model, "data")
    cache.store(FOUND)

    def fail(*arguments, **keywords):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", fail)
    with pytest.raises(IngotError, match="cannot write"):
        cache.store({})
    monkeypatch.undo()
    assert list(cache.load()) == list(FOUND)
    assert list(tmp_path.iterdir()) == [cache.path]
