"""The CUDA target without a GPU: machine code of NVRTC, options, artifacts, refusals."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

pytest.importorskip("nvidia.cuda_nvrtc", reason="the extra cuda is not installed")

from ingot.compiler.build import compile_model
from ingot.errors import CompilationError, DeviceError, ModelError, UsageError
from ingot.runtime.artifact import ArtifactReader
from ingot.runtime.cuda import driver
from ingot.runtime.cuda.plan import Plan
from ingot.runtime.session import Session
from ingot.runtime.trust import trusted_keys
from ingot.targets.cuda.nvrtc import compile_source, compile_to_ptx
from ingot.targets.registry import parse_target
from tests.conftest import small_network

_SOURCE = 'extern "C" __global__ void copy(float *to, float *from) { to[threadIdx.x] = *from; }'
_ELF_MACHINE = slice(18, 20)
_EM_CUDA = 190


@pytest.mark.parametrize("architecture", ["sm_80", "sm_87", "sm_90"])
def test_machine_code_is_made_without_a_gpu(architecture: str) -> None:
    code = compile_source(_SOURCE, architecture)
    assert code[:4] == b"\x7fELF"
    assert int.from_bytes(code[_ELF_MACHINE], "little") == _EM_CUDA
    assert f".target {architecture}" in compile_to_ptx(_SOURCE, architecture)


def test_an_architecture_that_nvrtc_does_not_know_is_refused() -> None:
    with pytest.raises(UsageError, match="no code for 'sm_99'; it does for .*sm_80"):
        compile_source(_SOURCE, "sm_99")


def test_what_nvrtc_refuses_is_an_error_of_one_line() -> None:
    with pytest.raises(CompilationError, match="NVRTC refuses the code for sm_80: .*error"):
        compile_source("nonsense", "sm_80")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("cuda", "cuda:arch=sm_80"),
        ("cuda:sm_90", "cuda:arch=sm_90"),
        ("cuda:arch=sm_90+sm_80+sm_90", "cuda:arch=sm_80+sm_90"),
    ],
)
def test_a_spec_comes_back_with_its_defaults(spec: str, expected: str) -> None:
    assert parse_target(spec).spec == expected


@pytest.mark.parametrize("arch", ["80", "sm_60", "sm_x", "sm_80+"])
def test_an_architecture_that_there_is_not_is_refused(arch: str) -> None:
    with pytest.raises(UsageError, match="target cuda, option 'arch'"):
        parse_target(f"cuda:arch={arch}")


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same model, compiled twice."""
    folder = tmp_path_factory.mktemp("cuda")
    paths = [folder / "first.ingot", folder / "second.ingot"]
    for path in paths:
        compile_model(small_network(), path, target="cuda:arch=sm_80+sm_90")
    return paths


def test_an_artifact_has_code_for_each_architecture_and_one_plan(artifacts: list[Path]) -> None:
    reader = ArtifactReader(artifacts[0], trusted_keys(False))
    plan = Plan.from_json(reader.member("cuda/gpu.json"))
    assert plan.architectures == ("sm_80", "sm_90")
    assert {name for name in reader.manifest.members if name.endswith(".cubin")} == {
        "cuda/gpu.sm_80.cubin", "cuda/gpu.sm_90.cubin",
    }  # fmt: skip
    assert [weight.name for weight in plan.weights] == list(reader.manifest.weights)
    assert reader.manifest.inputs[0].shape == (1, 3, 16, 16)


def test_members_are_the_same_each_time(artifacts: list[Path]) -> None:
    first, second = (ArtifactReader(path, trusted_keys(False)).manifest for path in artifacts)
    assert first.members == second.members


def test_code_that_cannot_run_here_is_not_verified_and_says_why(
    artifacts: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "LIBRARY", "libcuda-of-no-machine.so.1")
    with pytest.raises(DeviceError, match="there is no NVIDIA driver on this machine"):
        Session(artifacts[0])


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("EMULATED_INIT", "3", "the NVIDIA driver does not start: cuInit: emulated failure"),
        ("EMULATED_DEVICES", "0", "no CUDA device 0: this process sees 0 devices"),
        ("EMULATED_CAPABILITY", "75", r"code for sm_80, sm_90, and device 0 \(Emulated GPU, sm_75"),
        ("EMULATED_CAPABILITY", "87", "compile it with --target cuda:arch=sm_87"),
        ("EMULATED_MEMORY", "4096", "of which 0 MiB are free"),
    ],
)
def test_a_device_that_cannot_run_the_code_is_refused(
    setting: str, value: str, message: str, artifacts: list[Path], emulated_driver: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(driver, "LIBRARY", str(emulated_driver))
    ctypes.CDLL(None).setenv(setting.encode(), value.encode(), 1)
    try:
        with pytest.raises(DeviceError, match=message):
            Session(artifacts[0])
    finally:
        ctypes.CDLL(None).unsetenv(setting.encode())


def test_sizes_that_are_not_fixed_are_refused(tmp_path: Path) -> None:
    model = small_network()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "H"
    with pytest.raises(ModelError, match="give the inputs' shapes with --shape"):
        compile_model(model, tmp_path / "open.ingot", target="cuda")
