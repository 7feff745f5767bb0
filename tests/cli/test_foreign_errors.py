"""Whatever a command is given, it ends in a line of our own: no traceback, no library's error."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from ingot.cli.text import printable
from ingot.compiler.build import compile_model
from ingot.errors import CompilationError
from tests.command_line import Ingot, Outcome

NAMES = ["x[/red]", "[bold]b", ":smile:", "a\x1b[31mb", "t\u202eu", "<script>"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_model: Path) -> Path:
    """Files of every bad kind, in the current folder, beside a model ``m.onnx``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.onnx").write_bytes(small_model.read_bytes())
    image = np.random.default_rng(0).random((4, 3, 16, 16)).astype(np.float32)
    np.save("whole.npy", image)
    np.savez_compressed("whole.npz", image=image)
    whole = (tmp_path / "whole.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:500])
    (tmp_path / "header.npy").write_bytes(whole[:10] + b"(" * 60 + b")" * 57 + b"\n" + whole[128:])
    claim = b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999,), }".ljust(118)
    (tmp_path / "claim.npy").write_bytes(whole[:10] + claim + whole[128:])
    np.save("pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez("pickled.npz", image=np.array([{}], dtype=object))
    damaged = bytearray((tmp_path / "whole.npz").read_bytes())
    damaged[len(damaged) // 2] ^= 255
    (tmp_path / "damaged.npz").write_bytes(damaged)
    (tmp_path / "junk").write_bytes(bytes(range(256)))
    (tmp_path / "junk.npz").write_bytes(bytes(range(256)))
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dir").mkdir()
    os.mkfifo("fifo")
    for name, text in {
        "deep.yaml": "[" * 100_000 + "]" * 100_000,
        "deep.toml": "a = " + "[" * 100_000 + "]" * 100_000,
        "keys.toml": "a" + ".a" * 50_000 + " = 1",
        "bomb.yaml": "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"a{k}: &a{k} [{','.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 12)),
        "cycle.yaml": "passes: &a [*a]\n",
        "seed.yaml": "verify: {seed: -1}\n",
        "date.yaml": "name: 2001-99-99\n",
        "tag.yaml": 'name: !!python/object/apply:os.system ["true"]\n',
        "number.toml": "verify.seed = " + "9" * 6000,
        "null.toml": "\0",
        "relative.yaml": 'passes: ["..:X"]\n',
        "leaves.yaml": 'passes: ["leaves:X"]\n',
        "leaves.py": "raise SystemExit(3)\n",
    }.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def expect_one_line(outcome: Outcome, code: int) -> None:
    assert outcome.code == code, outcome.err
    assert outcome.err.count("\n") <= 3, "steps, and the error"
    assert outcome.error.startswith("ingot: error: ")
    assert "unexpected" not in outcome.error
    assert len(outcome.error) < 2100


@pytest.mark.parametrize(
    "given",
    ["cut.npy", "header.npy", "claim.npy", "pickled.npy", "junk", "fifo", "dir", "loop", "none",
     "x" * 300, "\0", "m.onnx"],
)  # fmt: skip
def test_arrays_that_are_none(ingot: Ingot, folder: Path, small_artifact, given: str) -> None:
    expect_one_line(ingot("run", small_artifact.path, "--input", f"image={given}"), 1)


@pytest.mark.parametrize("given", ["damaged.npz", "pickled.npz", "junk.npz", "none.npz"])
def test_archives_of_arrays_that_are_none(
    ingot: Ingot, folder: Path, small_artifact, given: str
) -> None:
    expect_one_line(ingot("run", small_artifact.path, "--input", given), 1)
    expect_one_line(ingot("compile", "m.onnx", "--verify-data", given), 1)


@pytest.mark.parametrize(
    "given",
    ["deep.yaml", "deep.toml", "keys.toml", "bomb.yaml", "cycle.yaml", "seed.yaml", "date.yaml",
     "tag.yaml", "number.toml", "null.toml", "relative.yaml", "leaves.yaml", "m.onnx", "junk",
     "fifo", "dir", "loop", "none.toml", "x" * 5000, "\0", "\udcff"],
)  # fmt: skip
def test_recipes_that_are_none(
    ingot: Ingot, folder: Path, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(folder)
    expect_one_line(ingot("compile", "m.onnx", "--recipe", given), 2)


@pytest.mark.parametrize("given", ["junk", "fifo", "dir", "loop", "none.x", "x" * 300, "\0.onnx"])
@pytest.mark.parametrize("command", ["compile", "profile", "bench", "bisect", "report"])
def test_models_that_are_none(ingot: Ingot, folder: Path, command: str, given: str) -> None:
    outcome = ingot(command, given)
    expect_one_line(outcome, outcome.code)
    assert outcome.code in (1, 2)


@pytest.mark.parametrize("given", ["junk", "fifo", "dir", "loop", "none", "x" * 300])
@pytest.mark.parametrize("command", ["inspect", "verify", "run"])
def test_artifacts_that_are_none(ingot: Ingot, folder: Path, command: str, given: str) -> None:
    expect_one_line(ingot(command, given), 1)


def test_a_tolerance_that_is_no_number(ingot: Ingot, folder: Path, small_artifact) -> None:
    outcome = ingot("verify", small_artifact.path, "--model", "m.onnx", "--rtol", "nan")
    assert outcome.code == 2
    assert ingot("verify", small_artifact.path, "--seed", "-1").code == 2


def test_a_file_whose_name_is_not_utf_8(ingot: Ingot, folder: Path) -> None:
    name = os.fsdecode(b"m\xff.onnx")
    (folder / "m.onnx").rename(folder / name)
    outcome = ingot("compile", name)
    assert outcome.code == 0, outcome.err
    made = os.fsdecode(b"m\xff.ingot")
    assert (folder / made).is_file()
    assert ingot("inspect", made).code == 0
    assert ingot("verify", made, "--model", name).code == 0


def odd_model() -> object:
    """A model all of whose names are such that a terminal, a markup or a page might obey them."""
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2]) for n in NAMES]
    nodes = [
        helper.make_node("Relu", [before], [after], f"{after} node")
        for before, after in itertools.pairwise(NAMES)
    ]
    string = helper.make_tensor_value_info("s[/red]", TensorProto.STRING, [2])
    nodes.append(helper.make_node("Identity", ["s[/red]"], ["t[/red]"], "i[/red]"))
    left = helper.make_tensor_value_info("t[/red]", TensorProto.STRING, [2])
    graph = helper.make_graph(nodes, "[/red]", [values[0], string], [*values[1:], left])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_names_are_shown_as_they_are(ingot: Ingot, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = compile_model(odd_model(), "odd.ingot")  # type: ignore[arg-type]
    assert "odd.ingot" in str(made.path)
    shown = ingot("inspect", "odd.ingot")
    assert shown.code == 0, shown.err
    for name in ("x[/red]", ":smile:", r"a\x1b[31mb", r"t\u202eu", "t[/red]"):
        assert name in shown.out
    assert "\x1b" not in shown.out
    strings = np.array(["a", "b"])
    np.savez("in.npz", **{"x[/red]": np.ones(2, np.float32), "s[/red]": strings})
    run = ingot("run", "odd.ingot", "--input", "in.npz", "--output-dir", "out")
    assert run.code == 0, run.err
    assert r"a\x1b[31mb: float32[2]" in run.out
    assert list(np.load("out/t[_red].npy")) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [("plain é 中 → ✓\n", "plain é 中 → ✓\n"), ("\x1b[2J", r"\x1b[2J"), ("\udcff", r"\udcff"),
     ("\x00\x07", r"\x00\x07"), ("a\u202eb", r"a\u202eb")],
)  # fmt: skip
def test_what_a_terminal_would_obey_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize("taken_for", ["an error", "nothing"])
def test_ctrl_c_is_told_as_what_it_is_whatever_foreign_code_makes_of_it(
    ingot: Ingot, folder: Path, monkeypatch: pytest.MonkeyPatch, taken_for: str
) -> None:
    """A pass of TVM's calls Python: what is raised there comes out as an error of TVM's."""
    import tvm_ffi

    callback = tvm_ffi.convert(lambda: signal.raise_signal(signal.SIGINT))

    def lower(*_: object, **__: object) -> None:
        try:
            callback()
        except BaseException as error:
            if taken_for == "an error":
                raise CompilationError("no code can be generated") from error

    monkeypatch.setattr("ingot.compiler.build.lower_with_regions", lower)
    before = set(folder.iterdir())
    outcome = ingot("compile", "m.onnx")
    assert outcome.code == 130
    assert outcome.error == "ingot: error: interrupted; nothing was left half-written"
    assert set(folder.iterdir()) == before
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def script(*arguments: str, cwd: Path | None = None, stdout: int | None = None, **environment: str):
    """The console script, as it is installed: the current folder is not where modules come from."""
    code = "import sys; sys.path.pop(0); from ingot.cli.entry import run; run()"
    paths = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2])])}
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env={**os.environ, **paths, **environment},
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE,
    )


def test_a_reader_that_leaves_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    for command in (["--version"], ["targets", "--json"]):
        with script(*command, stdout=writing) as process:
            assert process.stderr is not None
            assert process.stderr.read() == b""
    os.close(writing)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_behind_standard_output_is_told(unbuffered: str) -> None:
    with (
        Path("/dev/full").open("w") as full,
        script("--version", stdout=full.fileno(), PYTHONUNBUFFERED=unbuffered) as process,
    ):
        assert process.stderr is not None
        said = process.stderr.read()
        assert b"standard output cannot be written: No space left" in said
        assert said.count(b"\n") == 1
    assert process.returncode == 1


def test_output_that_a_stream_cannot_encode_is_escaped(folder: Path) -> None:
    with script("inspect", "é→.ingot", PYTHONIOENCODING="latin-1") as process:
        assert process.stderr is not None
        assert b"there is no artifact at \xe9\\u2192.ingot" in process.stderr.read()


def test_a_pass_in_the_current_folder_is_imported(folder: Path) -> None:
    (folder / "mine.py").write_text("class NoPass: ...\n")
    (folder / "mine.yaml").write_text('passes: ["mine:NoPass"]\n')
    with script("compile", "m.onnx", "--recipe", "mine.yaml", cwd=folder) as process:
        assert process.stderr is not None
        assert b"'mine:NoPass' is no onnx_ir pass class" in process.stderr.read()
