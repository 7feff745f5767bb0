"""A model compiled, run under guards, and held to what ONNX Runtime gives or refuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from ingot.compiler.build import compile_model
from ingot.errors import ModelError
from ingot.reference.session import Reference
from tests.guarded.process import Arrays, GuardedProcess

UNVERIFIED = {"verify": {"enabled": False}, "fallback": False}

LEAST, MOST = -(2**63), 2**63 - 1
FAR = (2**31, 2**32, 2**40, MOST, -(2**31), -(2**31) - 1, -(2**32), LEAST)


def around(low: int, high: int) -> list[int]:
    """Returns integers in, at and beyond the bounds of ``[low, high)``, and extreme ones."""
    return [0, low, high - 1, low - 1, high, high + 100, low - 100, *FAR]


@dataclasses.dataclass(frozen=True)
class Checked:
    """A compiled model and where it runs.

    Attributes:
        model: The model.
        path: Its artifact.
        process: The guarded process.
        valid: Inputs that the model takes.
    """

    model: onnx.ModelProto
    path: Path
    process: GuardedProcess
    valid: Arrays

    @classmethod
    def compiled(
        cls, model: onnx.ModelProto, folder: Path, process: GuardedProcess, valid: Arrays
    ) -> Checked:
        """Compiles a model, all of it."""
        path = folder / f"{model.graph.name}.ingot"
        artifact = compile_model(model, path, recipe=UNVERIFIED)
        assert not artifact.manifest.regions
        return cls(model, path, process, valid)

    def with_value(self, name: str, position: int, value: float) -> Arrays:
        """Returns valid inputs with one element of one of them replaced."""
        array = np.array(self.valid[name])
        array.reshape(-1)[position % array.size] = value
        return {**self.valid, name: array}

    def assert_as_reference(self, feeds: Arrays) -> Mapping[str, np.ndarray] | str:
        """Runs both.

        Returns:
            The outputs, or the text of the error where both refuse.
        """
        answer = self.process.run(self.path, feeds)
        shown = {n: a for n, a in feeds.items() if not np.array_equal(a, self.valid[n])}
        try:
            expected = Reference(self.model).run(dict(feeds))
        except ModelError:
            assert isinstance(answer, tuple), f"no error at {shown}"
            assert answer[0] == "InputError", f"{answer} at {shown}"
            return answer[1]
        assert isinstance(answer, Mapping), f"{answer} at {shown}"
        for name, wanted in expected.items():
            actual = answer[name]
            assert (actual.dtype, actual.shape) == (wanted.dtype, wanted.shape), (name, shown)
            np.testing.assert_allclose(actual, wanted, 1e-5, 1e-6, err_msg=f"{name} at {shown}")
        return answer
