"""An artifact runs in a process of its own, by what a deployed machine has."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from ingot.compiler.artifact_writer import describe_members, write_artifact
from ingot.compiler.build import Artifact, compile_model
from ingot.compiler.fresh_process import session as fresh
from ingot.compiler.fresh_process.session import FreshSession
from ingot.errors import ArtifactError, InputError, VerificationError
from ingot.runtime.artifact import ArtifactReader
from ingot.runtime.manifest import CODE_MEMBER, WEIGHTS_MEMBER

CRASH = """
void abort(void); void exit(int); int dprintf(int, const char*, ...);
__attribute__((constructor)) static void begin(void) { dprintf(2, "last words\\n"); %s; }
"""


def with_code(artifact: Artifact, code: bytes, path: Path, **changes: object) -> Path:
    """An artifact with other code, whose digests are right."""
    reader = ArtifactReader(artifact.path)
    members = {CODE_MEMBER: code, WEIGHTS_MEMBER: bytes(reader.member(WEIGHTS_MEMBER))}
    described = describe_members(members)
    manifest = dataclasses.replace(reader.manifest, members=described, **changes)
    write_artifact(path, manifest, members)
    return path


def library(folder: Path, statement: str) -> bytes:
    """A shared library that says something and executes a statement when it is loaded."""
    source = folder / "crash.c"
    source.write_text(CRASH % statement)
    # What it calls is in the process that loads it.
    command = [sys.executable, "-m", "ziglang", "cc", "-shared", "-fPIC", "-nostdlib"]
    command += ["-fno-sanitize=all", "-o"]
    subprocess.run([*command, str(folder / "crash.so"), str(source)], check=True)
    return (folder / "crash.so").read_bytes()


def test_it_computes_what_a_session_does(small_artifact: Artifact, image: np.ndarray) -> None:
    expected = small_artifact.session().run({"image": image})["logits"]
    with FreshSession(small_artifact.path) as session:
        for _ in range(2):
            np.testing.assert_array_equal(session.run({"image": image})["logits"], expected)


def test_strings_and_sequences_pass(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""<ir_version: 10, opset_import: ["" : 20]>
        g (string[N] x) => (seq(string[N]) y, string[N] z)
        { y = SequenceConstruct(x, x)  z = Identity(x) }""")
    artifact = compile_model(model, tmp_path / "m.ingot")
    with FreshSession(artifact.path) as session:
        outputs = session.run({"x": np.array(["a", "bc"], object)})
    assert outputs["z"].tolist() == ["a", "bc"]
    assert [part.tolist() for part in outputs["y"]] == [["a", "bc"]] * 2


def test_wrong_inputs_are_input_errors_and_the_session_goes_on(
    small_artifact: Artifact, image: np.ndarray
) -> None:
    with FreshSession(small_artifact.path) as session:
        with pytest.raises(InputError, match="image"):
            session.run({"image": image[0]})
        assert session.run({"image": image})["logits"].shape == (2, 10)


def test_errors_of_loading_are_those_of_a_session(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="there is no artifact"):
        FreshSession(tmp_path / "none.ingot")


def test_a_region_that_the_manifest_lacks_is_refused(tmp_path: Path) -> None:
    model = onnx.parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 20, "com.microsoft" : 1]>
        g (float[64,64] x) => (float[64,64] y)
        { a = MatMul(x, x)  b = com.microsoft.CDist(a, a)  y = MatMul(b, b) }""")
    artifact = compile_model(model, tmp_path / "m.ingot")
    (name,) = artifact.manifest.regions
    code = bytes(ArtifactReader(artifact.path).member(CODE_MEMBER))
    changed = with_code(artifact, code, tmp_path / "changed.ingot", regions={}, placement={})
    with pytest.raises(ArtifactError, match=f"calls region {name}, which its manifest"):
        FreshSession(changed)


@pytest.mark.parametrize(
    ("statement", "how"),
    [("abort()", "is ended by SIGABRT, and says: last words"),
     ("exit(3)", "ends with exit code 3, and says: last words"),
     ("*(volatile int*)8 = 1", "is ended by SIGSEGV")],
)  # fmt: skip
def test_code_that_ends_its_process_is_an_error(
    small_artifact: Artifact, tmp_path: Path, statement: str, how: str
) -> None:
    code = library(tmp_path, statement)
    path = with_code(small_artifact, code, tmp_path / "crash.ingot")
    with pytest.raises(VerificationError, match=f"its process {how}$"):
        FreshSession(path)


def test_closing_ends_the_process(small_artifact: Artifact) -> None:
    with FreshSession(small_artifact.path) as session:
        process = session._process
        assert process is not None
        os.kill(process, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_the_process_that_forks_is_started_again(
    small_artifact: Artifact, image: np.ndarray
) -> None:
    FreshSession(small_artifact.path).close()
    server = fresh._server._process
    assert server is not None
    server.kill()
    server.wait()
    with FreshSession(small_artifact.path) as session:
        assert session.run({"image": image})["logits"].shape == (2, 10)
