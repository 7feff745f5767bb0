"""Workers: real processes, what they answer, and what is said when one fails."""

import os
import signal
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from ingot.errors import IngotError, UsageError
from ingot.report.process import Worker

CPUS = (min(os.sched_getaffinity(0)),)


def start(path, engine="onnxruntime", name="ort"):
    return Worker(name, engine, path, threads=1, cpus=CPUS)


def test_a_worker_tells_of_its_model_and_process(classifier):
    with start(classifier) as worker:
        assert [(spec.name, spec.dtype, spec.shape) for spec in worker.inputs] == [
            ("x", "float32", (1, 4))
        ]
        assert worker.outputs == ("y",)
        assert worker.facts["version"] == onnxruntime.__version__
        assert worker.load_seconds > 0
        assert 1e6 < worker.baseline_bytes <= worker.peak_bytes()


def test_outputs_are_those_of_the_engine(classifier):
    x = np.random.default_rng(0).normal(size=(1, 4)).astype(np.float32)
    expected = onnxruntime.InferenceSession(str(classifier)).run(None, {"x": x})[0]
    with start(classifier) as worker:
        np.testing.assert_array_equal(worker.evaluate({"x": x})["y"], expected)


def test_every_run_is_timed(classifier):
    with start(classifier) as worker:
        worker.set_inputs({"x": np.zeros((1, 4), np.float32)})
        times = worker.time(7)
    assert times.shape == (7,)
    assert (times > 0).all()


def test_the_cpu_time_of_runs_is_that_of_their_own(classifier):
    with start(classifier) as worker:
        worker.set_inputs({"x": np.zeros((1, 4), np.float32)})
        timed = worker.timed(50)
        assert timed.nanoseconds.sum() / 1e9 <= timed.seconds
        assert 0 < timed.cpu_seconds <= worker.cpu_seconds() + 0.01  # of the system's tick


def test_symbolic_dimensions_are_named(make_classifier):
    with start(make_classifier(batch="N")) as worker:
        assert worker.inputs[0].shape == ("N", 4)


def test_the_worker_stays_on_its_cpus(classifier):
    with start(classifier) as worker:
        assert os.sched_getaffinity(worker.pid) == set(CPUS)


def test_cpu_time_is_that_of_the_process(classifier):
    with start(classifier) as worker:
        loaded = worker.cpu_seconds()
        assert loaded > 0
        worker.set_inputs({"x": np.zeros((1, 4), np.float32)})
        while worker.cpu_seconds() < loaded + 0.05:
            worker.time(1000)


def test_closing_ends_the_process(classifier):
    worker = start(classifier)
    worker.close()
    with pytest.raises(ProcessLookupError):
        os.kill(worker.pid, 0)


def test_a_wrong_input_is_reported_and_the_worker_lives_on(classifier):
    with start(classifier) as worker:
        with pytest.raises(IngotError, match=r"^ort failed in onnxruntime: .*z") as caught:
            worker.evaluate({"z": np.zeros((1, 4), np.float32)})
        assert "\n" not in str(caught.value)
        assert worker.evaluate({"x": np.zeros((1, 4), np.float32)})["y"].shape == (1, 3)


def test_a_model_that_does_not_load_is_reported(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"nonsense")
    with pytest.raises(IngotError, match="ort failed in onnxruntime") as caught:
        start(path)
    assert "\n" not in str(caught.value)


def test_an_artifact_that_is_damaged_is_reported_as_what_it_is(tmp_path):
    from ingot.errors import ArtifactError

    path = tmp_path / "m.ingot"
    path.write_bytes(b"nonsense")
    with pytest.raises(ArtifactError, match=r"^mine: "):
        start(path, "ingot", "mine")


def test_a_killed_worker_is_told_with_the_reason(classifier):
    with start(classifier) as worker:
        os.kill(worker.pid, signal.SIGKILL)
        with pytest.raises(IngotError, match=r"process of ort was killed by SIGKILL, as .* memory"):
            worker.peak_bytes()


def test_a_peer_that_is_not_installed_says_how_to_install_it(classifier, monkeypatch, tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "openvino.py").write_text("raise ModuleNotFoundError(\"No module named 'openvino'\")")
    monkeypatch.setattr("ingot.report.process.environment_of_this_ingot", lambda: _hiding(hidden))
    with pytest.raises(UsageError, match=r"not installed .*: pip install openvino"):
        start(classifier, "openvino", "OpenVINO")


def test_a_worker_that_dies_while_starting_gives_its_last_line(classifier, monkeypatch, tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "onnxruntime.py").write_text(
        "import os\nos.write(2, b'first\\nthe engine broke\\n')\nos._exit(7)\n"
    )
    monkeypatch.setattr("ingot.report.process.environment_of_this_ingot", lambda: _hiding(hidden))
    with pytest.raises(IngotError, match=r"exit code 7; its last line was: the engine broke$"):
        start(classifier)


def test_what_a_library_prints_does_not_disturb_the_frames(classifier, monkeypatch, tmp_path):
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        "import builtins, os\n"
        "real = builtins.__import__\n"
        "def noisy(name, *rest, **more):\n"
        "    if name == 'onnxruntime':\n"
        "        os.write(1, b'hello from a library')\n"
        "    return real(name, *rest, **more)\n"
        "builtins.__import__ = noisy\n"
    )
    monkeypatch.setattr("ingot.report.process.environment_of_this_ingot", lambda: _hiding(hidden))
    with start(classifier) as worker:
        assert worker.outputs == ("y",)


def test_the_ingot_worker_imports_the_runtime_and_nothing_of_the_compiler():
    import subprocess
    import sys

    from ingot.compiler.fresh_process.session import environment_of_this_ingot

    code = (
        "import sys, ingot.report.workers.ingot as worker; worker.imports();"
        "print(','.join(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment_of_this_ingot(),
        capture_output=True,
        check=True,
        text=True,
    )
    loaded = set(done.stdout.strip().split(","))
    assert {"numpy", "ingot"} <= loaded
    assert not loaded & {
        "tvm",
        "tvm_ffi",
        "onnx",
        "onnxruntime",
        "pydantic",
        "scipy",
        "matplotlib",
        "jinja2",
    }


def _hiding(folder):
    from ingot.report import process

    root = Path(process.ingot.errors.__file__).parent.parent
    return {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{root}"}
