"""A model for an NPU, from ONNX to a session's results."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

pytest.importorskip("ethosu.regor", reason="the extra npu is not installed")
pytest.importorskip("tosa_reference_model", reason="the extra npu is not installed")

from ingot.compiler.build import Artifact, compile_model
from ingot.errors import ArtifactError, IngotError, ModelError, UnsupportedOperatorError, UsageError
from ingot.runtime.session import Session
from ingot.targets.registry import parse_target
from tests.conftest import small_network
from tests.damage import flip_a_bit

TARGET = "npu:ethos-u55-256,mcpu=generic"
RECIPE = {"passes": ["cleanup", "fusion", "quantization.qdq"], "precision": "int8"}


def calibration(count: int = 4) -> list[dict[str, np.ndarray]]:
    generator = np.random.default_rng(0)
    return [
        {"image": generator.normal(size=(1, 3, 16, 16)).astype(np.float32)} for _ in range(count)
    ]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    path = tmp_path_factory.mktemp("npu") / "small.ingot"
    return compile_model(
        small_network(), path, target=TARGET, recipe=RECIPE, calibration=calibration()
    )


def test_nothing_is_left_to_the_cpu(artifact: Artifact) -> None:
    placement = artifact.manifest.placement
    assert placement["cpu"]["left"] == []
    assert placement["npu"]["share_of_macs"] == 1.0
    assert placement["npu"]["regions"] == ["region0"]


def test_the_batch_is_one_where_the_model_leaves_it_open(artifact: Artifact) -> None:
    assert artifact.manifest.inputs[0].shape == (1, 3, 16, 16)


def test_the_result_is_that_of_the_quantized_graph(artifact: Artifact) -> None:
    assert artifact.manifest.measured["verification"]["rms_error"] < 1e-6


def test_activations_of_16_bits_run_on_the_npu(artifact: Artifact, tmp_path: Path) -> None:
    wide = {"name": "quantization.qdq", "options": {"activation_bits": 16}}
    made = compile_model(
        small_network(), tmp_path / "wide.ingot", target=TARGET, calibration=calibration(),
        recipe={"passes": ["cleanup", "fusion", wide], "precision": "int8"},
    )  # fmt: skip
    (left,) = made.manifest.placement["cpu"]["left"]
    assert left["node"] == "fc"
    assert "accumulators of 16-bit activations have 48 bits" in left["reason"]
    assert set(made.manifest.precision["layers"].values()) == {"int16 x int8"}
    image = calibration(1)[0]["image"]
    with Session(made.path) as reference, Session(made.path, executor="command-stream") as stream:
        for name, result in reference.run(image).items():
            np.testing.assert_array_equal(result, stream.run(image)[name])


def test_a_fresh_artifact_is_the_same(artifact: Artifact, tmp_path: Path) -> None:
    again = compile_model(
        small_network(), tmp_path / "again.ingot", target=TARGET, recipe=RECIPE,
        calibration=calibration(),
    )  # fmt: skip
    assert again.manifest.members == artifact.manifest.members


def test_both_executors_give_the_same_bits(artifact: Artifact) -> None:
    image = calibration(1)[0]["image"]
    with (
        Session(artifact.path) as reference,
        Session(artifact.path, executor="command-stream") as stream,
    ):
        np.testing.assert_array_equal(reference.run(image)["logits"], stream.run(image)["logits"])


PROGRAM = """
import sys
import numpy as np
from ingot.runtime import Session
with Session(sys.argv[1], executor=sys.argv[3]) as session:
    np.save(sys.argv[2] + ".out.npy", session.run(np.load(sys.argv[2]))["logits"])
print([name for name in ("tvm", "onnx", "onnxruntime", "ethosu.regor") if name in sys.modules])
"""


@pytest.mark.parametrize("executor", ["reference", "command-stream"])
def test_a_fresh_process_gives_the_same_bits(
    artifact: Artifact, tmp_path: Path, executor: str
) -> None:
    """And it needs no compiler."""
    image = calibration(1)[0]["image"]
    given = tmp_path / "image.npy"
    np.save(given, image)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, artifact.path, given, executor],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    with Session(artifact.path) as here:
        np.testing.assert_array_equal(np.load(f"{given}.out.npy"), here.run(image)["logits"])


def test_an_unknown_executor_is_refused(artifact: Artifact) -> None:
    with pytest.raises(UsageError, match="the executors are reference, command-stream"):
        Session(artifact.path, executor="fpga")


def test_an_executor_for_an_artifact_without_regions_is_refused(small_artifact: Artifact) -> None:
    with pytest.raises(UsageError, match="has no NPU regions"):
        Session(small_artifact.path, executor="reference")


def test_a_damaged_region_is_noticed(artifact: Artifact, tmp_path: Path) -> None:
    member = "npu/region0/command_stream.bin"
    damaged = flip_a_bit(artifact.path, member, tmp_path / "damaged.ingot")
    with pytest.raises(ArtifactError, match=r"command_stream\.bin does not have the digest"):
        Session(damaged)


def test_a_model_that_is_not_quantized_says_how(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="--quantize int8 --calibration DATA"):
        compile_model(small_network(), tmp_path / "x.ingot", target=TARGET)


def test_an_unsupported_operator_is_named_where_the_cpu_is_not_allowed(tmp_path: Path) -> None:
    model = with_float_end()
    with pytest.raises(UnsupportedOperatorError, match=r"node 'odd' \(Erf\)"):
        compile_model(
            model, tmp_path / "x.ingot", target=f"{TARGET},fallback=false", recipe=RECIPE,
            calibration=calibration(),
        )  # fmt: skip


def test_what_the_npu_lacks_runs_on_the_cpu_and_is_listed(tmp_path: Path) -> None:
    made = compile_model(
        with_float_end(), tmp_path / "x.ingot", target=TARGET, recipe=RECIPE,
        calibration=calibration(),
    )  # fmt: skip
    placement = made.manifest.placement
    assert [entry["operator"] for entry in placement["cpu"]["left"]] == ["Erf"]
    assert placement["npu"]["share_of_macs"] == 1.0
    assert made.manifest.measured["verification"]["ran"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("npu", "target npu needs option 'accelerator'"),
        ("npu:ethos-u99-1", "target npu has ethos-u55-32, ethos-u55-64"),
        ("npu:ethos-u55-256,memory_mode=None", "it has Sram_Only, Shared_Sram"),
        ("npu:ethos-u55-256,system_config=Fast", "it has Ethos_U55_Deep_Embedded"),
        ("npu:ethos-u55-256,sram=-1", "greater than or equal to 1"),
    ],
)
def test_unknown_configurations_list_the_known_ones(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_target(spec)


def test_a_model_that_does_not_fit_says_by_how_much(tmp_path: Path) -> None:
    with pytest.raises(IngotError, match=r"needs [\d,]+ bytes of Sram on ethos-u55-256"):
        compile_model(
            small_network(), tmp_path / "x.ingot", target=f"{TARGET},sram=64", recipe=RECIPE,
            calibration=calibration(),
        )  # fmt: skip


def with_float_end() -> onnx.ModelProto:
    """The small network with an operator behind it that is float."""
    model = small_network()
    last = model.graph.node[-1]
    last.output[0] = "before"
    model.graph.node.append(onnx.helper.make_node("Erf", ["before"], ["logits"], "odd"))
    return model
