"""What an install brings, and imports that are refused because it does not."""

from __future__ import annotations

import pytest

from ingot.compiler.fresh_process.installed import InstalledAlone, packages_of


def test_the_base_install_is_the_runtime_alone() -> None:
    base = packages_of(())
    assert "numpy" in base
    assert not base & {"tvm", "onnx", "onnx_ir", "onnxruntime", "ml_dtypes", "pydantic", "typer"}


def test_an_extra_brings_its_packages_and_what_they_require() -> None:
    assert {"onnxruntime", "ml_dtypes", "google"} <= packages_of(["fallback"])
    assert "tvm" not in packages_of(["fallback"])


@pytest.mark.parametrize("name", ["tvm", "onnx.helper", "ingot.compiler.build", "ingot.runtime_x"])
def test_what_is_not_installed_cannot_be_imported(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=name):
        InstalledAlone().find_spec(name, None)


@pytest.mark.parametrize("name", ["numpy.linalg", "json", "ingot.runtime.session"])
def test_what_is_installed_is_left_to_the_other_finders(name: str) -> None:
    assert InstalledAlone().find_spec(name, None) is None


def test_packages_can_be_allowed() -> None:
    install = InstalledAlone()
    install.allow(["onnxruntime"])
    assert install.find_spec("onnxruntime.capi", None) is None
