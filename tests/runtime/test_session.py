"""Running an artifact: results, errors before anything runs, threads."""

from __future__ import annotations

import math
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ingot.compiler.build import Artifact
from ingot.errors import InputError, UsageError
from ingot.reference.session import Reference
from ingot.runtime.alignment import aligned, aligned_empty
from ingot.runtime.binding import check_provided
from ingot.runtime.manifest import TensorSpec
from ingot.runtime.session import Session


@pytest.fixture(scope="module")
def session(small_artifact: Artifact) -> Session:
    return Session(small_artifact.path, threads=1)


def test_outputs_agree_with_the_reference(
    session: Session, small_model: Path, image: np.ndarray
) -> None:
    expected = Reference(small_model).run({"image": image})["logits"]
    np.testing.assert_allclose(session.run({"image": image})["logits"], expected, atol=1e-4)


def test_inputs_may_be_named_or_in_order(session: Session, image: np.ndarray) -> None:
    named = session.run({"image": image})["logits"]
    np.testing.assert_array_equal(session.run(image)["logits"], named)


class OnlyDlpack:
    """An array of another library, which speaks DLPack alone."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()


def beside_a_line(shape: tuple[int, ...], content: Any = 0.0) -> np.ndarray:
    """An array that begins 16 bytes behind the beginning of a cache line, as NumPy's often do."""
    memory = aligned_empty((4 + math.prod(shape),), np.dtype(np.float32))
    array = memory[4:].reshape(shape)
    array[...] = content
    return array


def test_no_examples_have_no_results(session: Session) -> None:
    assert session.run(GOOD[:0])["logits"].shape == (0, 10)


@pytest.mark.parametrize(
    "view",
    [
        lambda array: np.asfortranarray(array),
        lambda array: np.repeat(array, 2, axis=0)[::2],
        lambda array: np.frombuffer(array.tobytes(), np.float32).reshape(array.shape),
        lambda array: (
            np.frombuffer(b"1" + array.tobytes(), np.uint8)[1:]
            .view(np.float32)
            .reshape(array.shape)
        ),
        lambda array: beside_a_line(array.shape, array),
        OnlyDlpack,
        lambda array: array.astype(">f4"),
    ],
    ids=[
        "fortran order",
        "strided",
        "read-only",
        "unaligned",
        "beside a cache line",
        "DLPack",
        "other byte order",
    ],
)
def test_any_layout_gives_the_same_bits(session: Session, image: np.ndarray, view: Any) -> None:
    expected = session.run(image)["logits"]
    np.testing.assert_array_equal(session.run(view(image))["logits"], expected)


def test_a_symbolic_dimension_takes_any_size(session: Session, image: np.ndarray) -> None:
    whole = session.run(np.concatenate([image] * 3))["logits"]
    assert whole.shape == (6, 10)
    np.testing.assert_array_equal(whole[4:], session.run(image)["logits"])


def test_outputs_go_to_arrays_that_the_caller_provides(session: Session, image: np.ndarray) -> None:
    mine = np.empty((2, 10), np.float32)
    returned = session.run(image, outputs={"logits": mine})
    assert returned["logits"] is mine
    np.testing.assert_array_equal(mine, session.run(image)["logits"])


def test_arrays_of_a_caller_may_lie_anywhere_that_allocators_put_them(
    session: Session, image: np.ndarray
) -> None:
    given, mine = beside_a_line(image.shape, image), beside_a_line((2, 10))
    assert aligned(given) is given
    assert session.run(given, outputs={"logits": mine})["logits"] is mine
    np.testing.assert_array_equal(mine, session.run(image)["logits"])


def test_an_array_for_outputs_may_have_the_other_byte_order(
    session: Session, image: np.ndarray
) -> None:
    mine = aligned_empty((2, 10), np.dtype(">f4"))
    session.run(image, outputs={"logits": mine})
    np.testing.assert_array_equal(mine, session.run(image)["logits"])


def test_arrays_for_two_outputs_do_not_share_memory() -> None:
    memory = np.empty((3, 10), np.float32)
    specs = [TensorSpec(name, "float32", (2, 10)) for name in ("a", "b")]
    with pytest.raises(InputError, match="the arrays for outputs a and b share memory"):
        check_provided(specs, {"a": memory[:2], "b": memory[1:]}, {})


def test_results_of_earlier_calls_stay_as_they_were(session: Session, image: np.ndarray) -> None:
    first = session.run(image)["logits"]
    before = first.copy()
    session.run(image * 2)
    np.testing.assert_array_equal(first, before)


GOOD = np.zeros((2, 3, 16, 16), np.float32)


class Unreadable(dict[str, np.ndarray]):
    """A mapping that reads its values from a file."""

    def __getitem__(self, name: str) -> np.ndarray:
        raise OSError("the file is gone")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([{"picture": GOOD}], "no input is called picture; the model's inputs are image"),
        ([{}], "image is missing"),
        ([], "0 inputs were given, the model takes 1: image"),
        ([GOOD, GOOD], "2 inputs were given, the model takes 1"),
        ([{"image": GOOD}, GOOD], "either one mapping of inputs or arrays in order"),
        ([GOOD.astype(np.float64)], r"image: float32\[N, 3, 16, 16\] was given dtype float64"),
        ([GOOD[0]], "has 4 dimensions, the array 3"),
        ([GOOD[:, :, :15]], r"was given shape \[2, 3, 15, 16\]"),
        (["text"], "was given dtype str"),
        ([[[1.0], [2.0, 3.0]]], "input image is not an array"),
        ([{"image": None}], "was given dtype object"),
        ([{"image": {1, 2}}], "was given dtype object"),
        ([{"image": np.ndarray}], "was given dtype object"),
        ([GOOD.astype(object)], "was given dtype object"),
        ([{1: GOOD}], "no input is called 1"),
        ([{("image",): GOOD, 2: GOOD}], r"no input is called \('image',\)"),
        ([Unreadable(image=GOOD)], "input image cannot be read: the file is gone"),
        ([np.ma.masked_equal(GOOD, 0)], "input image has masked elements"),
        ([np.broadcast_to(np.float32(0), (1 << 40, 3, 16, 16))], "no memory for a copy of input"),
    ],
)
def test_wrong_inputs_are_refused_in_one_line(
    session: Session, arguments: list[Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        session.run(*arguments)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"scores": np.empty((2, 10), np.float32)}, "no output is called scores"),
        ({"logits": np.empty((3, 10), np.float32)}, r"shape \[3, 10\] \(N is 2 elsewhere\)"),
        ({"logits": np.empty((2, 10), np.float64)}, "dtype float64"),
        ({"logits": np.empty((10, 2), np.float32).T}, "must be C-contiguous and writable"),
        ({"logits": np.broadcast_to(np.float32(0), (2, 10))}, "must be C-contiguous and writable"),
        ([np.empty((2, 10), np.float32)], "a mapping from names to arrays, not a list"),
        ("logits", "a mapping from names to arrays, not a str"),
        ({"logits": [[0.0] * 10] * 2}, "output logits was given a list, not a NumPy array"),
        ({"logits": None}, "output logits was given a NoneType"),
        ({"logits": np.ma.masked_all((2, 10), np.float32)}, "was given a MaskedArray"),
        ({3: np.empty((2, 10), np.float32)}, "no output is called 3"),
    ],
)
def test_wrong_output_arrays_are_refused(
    session: Session, image: np.ndarray, outputs: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        session.run(image, outputs=outputs)
    assert "\n" not in str(error.value)


def test_many_threads_may_call_one_session(session: Session, image: np.ndarray) -> None:
    expected = session.run(image)["logits"]
    results: list[np.ndarray] = []
    callers = [
        threading.Thread(
            target=lambda: results.extend(session.run(image)["logits"] for _ in range(20))
        )
        for _ in range(4)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(results) == 80
    assert all(np.array_equal(result, expected) for result in results)


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_any_number_of_threads_gives_the_same_bits(
    small_artifact: Artifact, session: Session, image: np.ndarray, threads: int
) -> None:
    with Session(small_artifact.path, threads=threads) as other:
        np.testing.assert_array_equal(other.run(image)["logits"], session.run(image)["logits"])


def test_the_process_keeps_its_cores_and_its_environment(
    small_artifact: Artifact, image: np.ndarray
) -> None:
    cores, environment = os.sched_getaffinity(0), dict(os.environ)
    with Session(small_artifact.path, threads=2) as session:
        session.run(image)
    assert os.sched_getaffinity(0) == cores
    assert dict(os.environ) == environment


def test_no_threads_at_all_are_refused(small_artifact: Artifact) -> None:
    with pytest.raises(UsageError, match="threads must be from 1 to 1024, not 0"):
        Session(small_artifact.path, threads=0)


def test_a_closed_session_says_so(small_artifact: Artifact, image: np.ndarray) -> None:
    with Session(small_artifact.path) as session:
        session.run(image)
    with pytest.raises(InputError, match="the session is closed"):
        session.run(image)
