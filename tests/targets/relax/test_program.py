"""Programs: what follows from sizes is planned, what follows from data is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from ingot.compiler.build import compile_model
from ingot.runtime.artifact import ArtifactReader
from ingot.runtime.code import Code
from ingot.runtime.manifest import CODE_MEMBER
from ingot.runtime.program import Op, Program
from ingot.runtime.session import Session


def program_of(text: str, folder: Path) -> tuple[Program, Path]:
    """Compiles a model of opset 20, all of it."""
    model = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": 20]> {text}')
    artifact = compile_model(model, folder / "m.ingot", fallback=False)
    code = Code(ArtifactReader(artifact.path).member(CODE_MEMBER))
    return code.program, artifact.path


def test_a_program_of_fixed_sizes_calls_kernels_alone(tmp_path: Path) -> None:
    program, _ = program_of(
        "g (float[64, 64] x) => (float[64, 64] y) { a = MatMul(x, x) y = MatMul(a, a) }", tmp_path
    )
    assert Op.DATA not in program.words
    assert program.dynamic_outputs == ()
    assert program.constants == () and program.regions == ()


def test_sizes_of_inputs_are_planned(tmp_path: Path) -> None:
    program, path = program_of(
        "g (float[N, 4] x) => (float[M, 4] y) { y = Concat<axis = 0>(x, x) }", tmp_path
    )
    assert program.dynamic_outputs == ()
    with Session(path, threads=1) as session:
        bound = session.bind(sizes={"N": 3})
        assert bound.outputs["y"].shape == (6, 4)


def test_sizes_of_data_are_not_planned(tmp_path: Path) -> None:
    program, path = program_of("g (float[N] x) => (int64[1, K] y) { y = NonZero(x) }", tmp_path)
    assert Op.DATA in program.words
    with Session(path, threads=1) as session:
        for count in (0, 3, 7):
            x = np.zeros(9, np.float32)
            x[:count] = 1
            assert session.run(x)["y"].tolist() == [list(range(count))]
        with pytest.raises(
            ValueError, match="output y cannot be bound, since its size depends on data"
        ):
            session.bind(sizes={"N": 9})


def test_two_outputs_and_a_view_of_one(tmp_path: Path) -> None:
    _, path = program_of(
        """g (float[2, 8] x) => (float[2, 8] a, float[4, 4] b, float[2, 8] c)
        <int64[2] shape = {4, 4}> { a = Relu(x) b = Reshape(a, shape) c = Neg(x) }""",
        tmp_path,
    )
    x = np.random.default_rng(0).normal(size=(2, 8)).astype(np.float32)
    with Session(path, threads=1) as session:
        found = session.run(x)
    np.testing.assert_array_equal(found["a"], np.maximum(x, 0))
    np.testing.assert_array_equal(found["b"], np.maximum(x, 0).reshape(4, 4))
    np.testing.assert_array_equal(found["c"], -x)
    assert not np.shares_memory(found["a"], found["b"])
