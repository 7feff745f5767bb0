"""INT8 models by other quantizers, each at the settings that its documentation recommends.

Every function writes a model file of its own format and takes the same samples.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy.typing as npt
import onnx
import onnx.version_converter
import onnx_ir as ir
import onnxruntime.quantization as ort_quantization
from onnxruntime.quantization.shape_inference import quant_pre_process

from ingot.calibration.collection import Calibration
from ingot.data import Dataset
from ingot.errors import IngotError, UsageError, first_line
from ingot.models.catalog import ModelSource

Inputs: TypeAlias = Mapping[str, npt.NDArray[Any]]
Quantize: TypeAlias = Callable[[Path, Sequence[Inputs], Path, bool], Path]
"""Takes the float model, samples, where to write to (a file without suffix), and whether the model
is a transformer; returns the file."""


def onnxruntime_static(
    model: Path, samples: Sequence[Inputs], output: Path, transformer: bool
) -> Path:
    """ONNX Runtime's static quantization: QDQ, u8 activations, s8 weights per channel, min-max.

    Of a transformer the matrix products alone are quantized: with every operator that it knows
    (its default) embeddings lose far more.
    """
    return _static(model, samples, output, transformer, ort_quantization.CalibrationMethod.MinMax)


def onnxruntime_percentile(
    model: Path, samples: Sequence[Inputs], output: Path, transformer: bool
) -> Path:
    """The same with the 99.999th percentile instead of the extremes."""
    method = ort_quantization.CalibrationMethod.Percentile
    return _static(model, samples, output, transformer, method)


def onnxruntime_dynamic(
    model: Path,
    samples: Sequence[Inputs],  # noqa: ARG001 - ranges are found at run time
    output: Path,
    transformer: bool,  # noqa: ARG001
) -> Path:
    """ONNX Runtime's dynamic quantization, which its documentation recommends for transformers."""
    output = output.with_suffix(".onnx")
    with _preprocessed(model) as prepared:
        ort_quantization.quantize_dynamic(
            prepared,
            output,
            per_channel=True,
            weight_type=ort_quantization.QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm"],
        )
    return output


def nncf_onnx(model: Path, samples: Sequence[Inputs], output: Path, transformer: bool) -> Path:
    """NNCF's post-training quantization of the ONNX model, with its bias correction."""
    import nncf

    nncf.set_log_level(logging.ERROR)
    quantized = nncf.quantize(
        onnx.load(model), nncf.Dataset(list(samples)), **_nncf_settings(samples, transformer)
    )
    output = output.with_suffix(".onnx")
    onnx.save(quantized, output)
    return output


def nncf_openvino(model: Path, samples: Sequence[Inputs], output: Path, transformer: bool) -> Path:
    """NNCF's post-training quantization of the model in OpenVINO, its main way."""
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    quantized = nncf.quantize(
        openvino.Core().read_model(model),
        nncf.Dataset([dict(sample) for sample in samples]),
        **_nncf_settings(samples, transformer),
    )
    output = output.with_suffix(".xml")
    openvino.save_model(quantized, output, compress_to_fp16=False)
    return output


# Scales per channel need opset 13.
_OPSET = 17

PEER_QUANTIZERS: Mapping[str, Quantize] = {
    "onnxruntime": onnxruntime_static,
    "onnxruntime_percentile": onnxruntime_percentile,
    "onnxruntime_dynamic": onnxruntime_dynamic,
    "nncf_onnx": nncf_onnx,
    "nncf_openvino": nncf_openvino,
}
"""The other quantizers by name."""


def quantized_by(quantizer: str, source: ModelSource, calibration: Dataset, folder: Path) -> Path:
    """Quantizes a model, or takes the file of an earlier run.

    Args:
        quantizer: One of :data:`PEER_QUANTIZERS`.
        source: The float model.
        calibration: What it is calibrated with.
        folder: Where the file is, or goes.

    Returns:
        The file.

    Raises:
        PeerError: The quantizer fails on this model.
    """
    kept = [folder / f"{quantizer}{suffix}" for suffix in (".onnx", ".xml")]
    found = next((file for file in kept if file.is_file()), None)
    if found is not None:
        return found
    samples = [dict(sample.inputs) for sample in Calibration(calibration).samples()]
    transformer = reads_tokens(source.path)
    try:
        return PEER_QUANTIZERS[quantizer](source.path, samples, folder / quantizer, transformer)
    except Exception as error:
        reason = first_line(error)
        raise PeerError(f"{quantizer} cannot quantize {source.name}: {reason}") from error


def reads_tokens(model: Path) -> bool:
    """Whether a model takes integers alone, as a transformer of language does."""
    inputs = [value for value in ir.load(model).graph.inputs if not value.is_initializer()]
    return all(value.dtype is not None and value.dtype.is_integer() for value in inputs)


def require(quantizer: str) -> None:
    """Refuses a quantizer whose package is not installed.

    Raises:
        UsageError: It is not.
    """
    needed = {"nncf_onnx": ("nncf",), "nncf_openvino": ("nncf", "openvino")}.get(quantizer, ())
    for package in needed:
        if importlib.util.find_spec(package) is None:
            raise UsageError(
                f"the quantizer {quantizer} needs the package {package}: install it, or leave "
                "the quantizer out with --quantizers"
            )


class PeerError(IngotError):
    """A peer cannot quantize a model; others still can."""


class _Reader(ort_quantization.CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, samples: Iterable[Inputs]) -> None:
        self._samples = iter(samples)

    def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
        sample = next(self._samples, None)
        return None if sample is None else dict(sample)


def _static(
    model: Path,
    samples: Sequence[Inputs],
    output: Path,
    transformer: bool,
    method: ort_quantization.CalibrationMethod,
) -> Path:
    output = output.with_suffix(".onnx")
    with _preprocessed(model) as prepared:
        ort_quantization.quantize_static(
            prepared,
            output,
            _Reader(samples),
            quant_format=ort_quantization.QuantFormat.QDQ,
            op_types_to_quantize=["MatMul", "Gemm"] if transformer else None,
            per_channel=True,
            activation_type=ort_quantization.QuantType.QUInt8,
            weight_type=ort_quantization.QuantType.QInt8,
            calibrate_method=method,
        )
    return output


@contextlib.contextmanager
def _preprocessed(model: Path) -> Iterator[Path]:
    """The model as ONNX Runtime's quantizer wants it: optimized, with shapes."""
    with tempfile.TemporaryDirectory() as folder:
        raised, prepared = Path(folder) / "raised.onnx", Path(folder) / "prepared.onnx"
        proto = onnx.load(model)
        if any(entry.version < _OPSET for entry in proto.opset_import if entry.domain == ""):
            onnx.save(onnx.version_converter.convert_version(proto, _OPSET), raised)
            model = raised
        quant_pre_process(model, prepared, skip_symbolic_shape=False, auto_merge=True)
        yield prepared


def _nncf_settings(samples: Sequence[Inputs], transformer: bool) -> dict[str, Any]:
    import nncf

    settings: dict[str, Any] = {
        "preset": nncf.QuantizationPreset.MIXED,
        "target_device": nncf.TargetDevice.CPU,
        "subset_size": len(samples),
        "fast_bias_correction": True,
    }
    if transformer:
        settings["model_type"] = nncf.ModelType.TRANSFORMER
    return settings
