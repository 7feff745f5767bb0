"""A PyTorch checkpoint is read without PyTorch, and nothing in it is ever run."""

import collections
import io
import pickle
import struct
import sys
import types
import zipfile

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ingot.errors import ModelError
from ingot.models.checkpoints.pth import read_pth

STORAGES = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}


class Tensor:
    """A view of a storage, pickled as torch pickles a tensor."""

    def __init__(self, storage, offset, shape, strides):
        self.arguments = (storage, offset, shape, strides, False, collections.OrderedDict())

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


class Storage:
    def __init__(self, key, data):
        self.key = key
        self.data = data


def fake_torch():
    """Modules in whose place the pickler finds the names that a checkpoint refers to."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in STORAGES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2(*_):
        raise AssertionError("only ever named")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    return {"torch": torch, "torch._utils": utils}


def pickled(state, legacy):
    """Pickles a state; returns the bytes and the storages by key."""
    storages = {}

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj):
            if not isinstance(obj, Storage):
                return None
            storages[obj.key] = obj.data
            kind = getattr(sys.modules["torch"], STORAGES[obj.data.dtype.name])
            view = (None,) if legacy else ()
            return ("storage", kind, obj.key, "cpu", obj.data.size, *view)

    file = io.BytesIO()
    Pickler(file, protocol=2).dump(state)
    return file.getvalue(), storages


def written(state, layout, byteorder=b"little"):
    """Writes a state dictionary in one of PyTorch's two layouts."""
    with pytest.MonkeyPatch.context() as patch:
        for name, module in fake_torch().items():
            patch.setitem(sys.modules, name, module)
        data, storages = pickled(state, legacy=layout == "legacy")
    file = io.BytesIO()
    if layout == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("archive/data.pkl", data)
            archive.writestr("archive/byteorder", byteorder)
            for key, storage in storages.items():
                archive.writestr(f"archive/data/{key}", storage.tobytes())
        return file.getvalue()
    for header in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": byteorder == b"little"}):
        file.write(pickle.dumps(header, protocol=2))
    file.write(data)
    file.write(pickle.dumps(sorted(storages), protocol=2))
    for key in sorted(storages):
        file.write(struct.pack("<q", storages[key].size) + storages[key].tobytes())
    return file.getvalue()


def whole(array, key="0"):
    strides = tuple(step // array.itemsize for step in array.strides)
    return Tensor(Storage(key, array.reshape(-1)), 0, array.shape, strides)


def read(data):
    return read_pth(io.BytesIO(data), "weights.pth")


layouts = pytest.mark.parametrize("layout", ["zip", "legacy"])


@layouts
@pytest.mark.parametrize("dtype", STORAGES)
def test_tensors_of_each_dtype_come_back_in_order(layout, dtype):
    first = np.arange(6).reshape(2, 3).astype(dtype)
    second = np.array(1).astype(dtype)
    state = collections.OrderedDict(b=whole(first, "7"), a=whole(second, "8"))

    tensors = read(written(state, layout))

    assert list(tensors) == ["b", "a"]
    assert tensors["b"].dtype == np.dtype(dtype)
    np.testing.assert_array_equal(tensors["b"], first)
    assert tensors["a"].shape == ()


@layouts
@settings(deadline=None)
@given(
    rows=st.integers(0, 5),
    columns=st.integers(0, 5),
    offset=st.integers(0, 4),
    transposed=st.booleans(),
)
def test_views_are_cut_out_of_their_storage(layout, rows, columns, offset, transposed):
    data = np.arange(40, dtype=np.float32)
    expected = data[offset : offset + rows * columns].reshape(rows, columns)
    view = Tensor(Storage("0", data), offset, (rows, columns), (columns, 1))
    if transposed:
        expected = expected.T
        view = Tensor(Storage("0", data), offset, (columns, rows), (1, columns))

    np.testing.assert_array_equal(read(written({"w": view}, layout))["w"], expected)


@layouts
def test_two_tensors_of_one_storage_do_not_share_memory(layout):
    storage = Storage("0", np.zeros(4, np.float32))
    state = {"a": Tensor(storage, 0, (4,), (1,)), "b": Tensor(storage, 0, (2,), (1,))}

    tensors = read(written(state, layout))
    tensors["a"][:] = 1

    assert not tensors["b"].any()


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


@layouts
@pytest.mark.parametrize("where", ["value", "key", "nested"])
def test_a_checkpoint_that_calls_a_function_is_refused_and_the_call_not_made(
    layout, where, tmp_path
):
    target = tmp_path / "made"
    call = Call(exec, f"open({str(target)!r}, 'w').close()")
    state = {
        "value": {"w": call},
        "key": {"w": whole(np.zeros(1, np.float32)), "x": {"y": call}},
        "nested": [[call]],
    }[where]

    with pytest.raises(ModelError, match=r"weights\.pth was refused: it asks for .*exec"):
        read(written(state, layout))
    assert not target.exists()


@layouts
@pytest.mark.parametrize(
    "function", [eval, getattr, __import__, io.open, pickle.loads, collections.Counter]
)
def test_no_other_callable_is_allowed(layout, function):
    with pytest.raises(ModelError, match="was refused"):
        read(written({"w": Call(function, "1")}, layout))


@layouts
@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (5,), (1,)), (1, (4,), (1,)), (-1, (1,), (1,)), (0, (2, 2), (3, 1)), (3, (2,), (-1,))],
)
def test_a_tensor_may_not_reach_beyond_its_storage(layout, offset, shape, strides):
    view = Tensor(Storage("0", np.zeros(4, np.float32)), offset, shape, strides)

    with pytest.raises(ModelError, match="damaged"):
        read(written({"w": view}, layout))


@layouts
@pytest.mark.parametrize(
    ("state", "message"),
    [([1, 2], "no state dictionary"), ({1: 2}, "no state dictionary"), ({"lr": 0.1}, "'lr'")],
)
def test_what_is_no_dictionary_of_tensors_is_refused(layout, state, message):
    with pytest.raises(ModelError, match=message):
        read(written(state, layout))


@layouts
def test_a_big_endian_checkpoint_is_refused_rather_than_misread(layout):
    data = written({"w": whole(np.ones(2, np.float32))}, layout, byteorder=b"big")

    with pytest.raises(ModelError, match="big-endian"):
        read(data)


@layouts
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_file_cut_short_anywhere_is_one_clear_error(layout, data):
    content = written({"w": whole(np.ones((3, 4), np.float32))}, layout)
    cut = data.draw(st.integers(0, len(content) - 1))

    with pytest.raises(ModelError, match=r"weights\.pth") as raised:
        read(content[:cut])
    assert "\n" not in str(raised.value)


@settings(deadline=None)
@given(st.binary(max_size=64))
@example(b"\x96\x00\x00\x00\x00\x00\x00\x00\x01")  # an array of 2 ** 56 bytes
def test_bytes_that_are_no_checkpoint_are_one_clear_error(content):
    with pytest.raises(ModelError, match=r"weights\.pth"):
        read(content)
