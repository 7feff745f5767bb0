"""DFT and STFT in every form, against NumPy's transforms in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ingot.compiler.build import compile_model
from ingot.errors import InputError, UnsupportedOperatorError
from ingot.reference.session import Reference
from tests.targets.cpu.conftest import Compile, Run

# Of the largest value: a few roundings of float32, whatever the length.
ROUNDING = 5e-7


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def as_complex(parts: np.ndarray) -> np.ndarray:
    wide = parts.astype(np.float64)
    return wide[..., 0] + (1j * wide[..., 1] if parts.shape[-1] == 2 else 0)


def assert_close(actual: np.ndarray, expected: np.ndarray) -> None:
    actual = as_complex(actual)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, atol=ROUNDING * np.abs(expected).max())


def model(
    operator: str,
    constants: dict[str, Any],
    *,
    shape: tuple[int | str, ...],
    inputs: list[str],
    opset: int = 20,
    dtype: int = TensorProto.FLOAT,
    **attributes: int,
) -> onnx.ModelProto:
    """A model of one node; inputs that are no constants are float tensors of the given shape."""
    node = helper.make_node(operator, inputs, ["y"], "node", **attributes)
    given = [name for name in inputs if name and name not in constants]
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info(name, dtype, shape) for name in given],
        [
            helper.make_tensor_value_info(
                "y", dtype, [None] * (4 if operator == "STFT" else len(shape))
            )
        ],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


@pytest.mark.parametrize("parts", [1, 2], ids=["real", "complex"])
@pytest.mark.parametrize("inverse", [0, 1])
@pytest.mark.parametrize("axis", [0, 1, -2])
def test_axes(run_on_cpu: Run, axis: int, inverse: int, parts: int) -> None:
    data = normal(6, 5, 12, parts)
    function = np.fft.ifft if inverse else np.fft.fft
    expected = function(as_complex(data), axis=axis if axis >= 0 else axis + 1)
    given = model(
        "DFT", {"axis": axis}, shape=data.shape, inputs=["x", "", "axis"], inverse=inverse
    )
    (actual,) = run_on_cpu(given, data)
    assert_close(actual, expected)


@pytest.mark.parametrize(("opset", "attributes", "axis"), [(17, {}, 1), (19, {"axis": 2}, 2)])
def test_the_axis_is_an_attribute_before_opset_20(
    run_on_cpu: Run, opset: int, attributes: dict[str, int], axis: int
) -> None:
    data = normal(2, 6, 8, 1)
    given = model("DFT", {}, shape=data.shape, inputs=["x"], opset=opset, **attributes)
    (actual,) = run_on_cpu(given, data)
    assert_close(actual, np.fft.fft(as_complex(data), axis=axis))


@pytest.mark.parametrize("length", [1, 7, 10, 13, 16])
@pytest.mark.parametrize("onesided", [0, 1])
def test_lengths_cut_and_extend(run_on_cpu: Run, length: int, onesided: int) -> None:
    data = normal(3, 10, 1)
    given = model("DFT", {"n": length}, shape=data.shape, inputs=["x", "n"], onesided=onesided)
    (actual,) = run_on_cpu(given, data)
    expected = np.fft.fft(as_complex(data), n=length, axis=1)
    assert_close(actual, expected[:, : length // 2 + 1] if onesided else expected)


@pytest.mark.parametrize("length", [None, 1, 2, 9, 10, 11, 14])
def test_half_a_spectrum_becomes_real_values(run_on_cpu: Run, length: int | None) -> None:
    """Its first imaginary part, and the last one of an even number, count for nothing."""
    data = normal(3, 6, 2)
    constants = {} if length is None else {"n": length}
    given = model(
        "DFT", constants, shape=data.shape, inputs=["x", *constants], inverse=1, onesided=1
    )
    (actual,) = run_on_cpu(given, data)
    assert_close(actual, np.fft.irfft(as_complex(data), n=length, axis=1))


@pytest.mark.parametrize("windowed", [True, False])
@pytest.mark.parametrize(("points", "step"), [(16, 4), (15, 20), (400, 160)])
@pytest.mark.parametrize(("parts", "onesided"), [(1, 1), (1, 0), (2, 0)])
def test_frames(
    run_on_cpu: Run, points: int, step: int, parts: int, onesided: int, windowed: bool
) -> None:
    data = normal(2, 1000, parts)
    window = np.hanning(points + 1)[1:].astype(np.float32) if windowed else None
    constants: dict[str, Any] = {"step": step}
    constants.update({"window": window} if windowed else {"length": points})
    names = ["x", "step", "window"] if windowed else ["x", "step", "", "length"]
    given = model("STFT", constants, shape=data.shape, inputs=names, onesided=onesided)
    (actual,) = run_on_cpu(given, data)
    assert_close(actual, frames(data, points, step, window, onesided=bool(onesided)))


def frames(
    data: np.ndarray, points: int, step: int, window: np.ndarray | None, *, onesided: bool
) -> np.ndarray:
    cut = np.lib.stride_tricks.sliding_window_view(as_complex(data), points, axis=1)[:, ::step]
    spectra = np.fft.fft(cut * (1 if window is None else window), axis=-1)
    return spectra[..., : points // 2 + 1] if onesided else spectra


def test_signals_of_any_length(compile_for_cpu: Compile) -> None:
    """One compilation serves all; a window that is computed, too."""
    given = model(
        "STFT", {"step": 8}, shape=("N", "L", 1), inputs=["x", "step", "window"], opset=17
    )
    given.graph.input[1].CopyFrom(helper.make_tensor_value_info("window", TensorProto.FLOAT, [32]))
    compiled = compile_for_cpu(given)
    assert compiled.work.count("fourier") == 1
    window = np.hanning(32).astype(np.float32)
    for batch, samples in ((1, 32), (2, 39), (1, 40), (3, 1000)):
        data = normal(batch, samples, 1, seed=samples)
        (actual,) = compiled(data, window)
        assert_close(actual, frames(data, 32, 8, window, onesided=True))


def test_a_signal_without_a_last_dimension_is_real(run_on_cpu: Run) -> None:
    data = normal(2, 100)
    given = model(
        "STFT", {"step": 10, "length": 20}, shape=data.shape, inputs=["x", "step", "", "length"]
    )
    (actual,) = run_on_cpu(given, data)
    assert_close(actual, frames(data[..., None], 20, 10, None, onesided=True))


def test_float16_is_computed_in_float32(run_on_cpu: Run) -> None:
    data = normal(2, 64, 1).astype(np.float16)
    given = model("DFT", {}, shape=data.shape, inputs=["x"], dtype=TensorProto.FLOAT16)
    (actual,) = run_on_cpu(given, data)
    expected = np.fft.fft(as_complex(data), axis=1)
    assert actual.dtype == np.float16
    np.testing.assert_allclose(as_complex(actual), expected, atol=2e-2)


def test_a_value_that_is_no_number_stays_in_its_row(run_on_cpu: Run) -> None:
    data = normal(3, 16, 1)
    data[1, 5] = np.nan
    given = model("DFT", {}, shape=data.shape, inputs=["x"], onesided=1)
    (actual,) = run_on_cpu(given, data)
    assert np.isnan(actual[1, 1:-1]).all()
    assert np.isfinite(actual[[0, 2]]).all()


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (
            model("DFT", {}, shape=(2, 8, 1), inputs=["x"], dtype=TensorProto.DOUBLE),
            "float64 is not lowered",
        ),
        (model("DFT", {}, shape=(2, "N", 1), inputs=["x"]), "an axis of open size"),
        (model("DFT", {}, shape=(2, 8, 1), inputs=["x", "n"]), "the length is known only when"),
        (model("DFT", {}, shape=(2, 8, 2), inputs=["x"], onesided=1), "real values alone"),
    ],
)
def test_what_is_refused(run_on_cpu: Run, given: onnx.ModelProto, match: str) -> None:
    with pytest.raises(UnsupportedOperatorError, match=f"node 'node'.*{match}"):
        run_on_cpu(given)


def test_a_log_mel_spectrogram(tmp_path: Path) -> None:
    """What speech models begin with, of a signal of any length: constants are folded."""
    proto = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 20]>
        mel (float[N, L] audio) => (float[N, T, 20] y) {
          one = Constant<value = int64[1] {-1}>()
          signal = Unsqueeze(audio, one)
          size = Constant<value = int64 {64}>()
          step = Constant<value = int64 {16}>()
          window = HannWindow(size)
          spectra = STFT<onesided = 1>(signal, step, window)
          squares = Mul(spectra, spectra)
          power = ReduceSum<keepdims = 0>(squares, one)
          bands = Constant<value = int64 {20}>()
          rate = Constant<value = int64 {8000}>()
          low = Constant<value = float {0}>()
          high = Constant<value = float {4000}>()
          weights = MelWeightMatrix(bands, size, rate, low, high)
          energy = MatMul(power, weights)
          floor = Constant<value = float {1e-5}>()
          above = Max(energy, floor)
          y = Log(above)
        }""")
    artifact = compile_model(proto, tmp_path / "mel.ingot")
    reference = Reference(proto)
    with artifact.session() as session:
        for samples in (64, 500):
            inputs = {"audio": normal(2, samples)}
            expected = reference.run(inputs)["y"]
            np.testing.assert_allclose(session.run(inputs)["y"], expected, rtol=1e-4, atol=1e-4)
        with pytest.raises(InputError, match="shorter than a frame of 64 values"):
            session.run({"audio": normal(1, 63)})
