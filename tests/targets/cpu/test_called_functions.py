"""Generated code calls nothing that the runtime lacks; artifacts run where it stands alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from onnx import parser
from tvm import relax

from ingot.compiler.build import compile_model
from ingot.errors import CompilationError
from ingot.targets.cpu.called_functions import require_runtime_functions

RUN = """
import sys
import numpy as np
from ingot.runtime.session import Session
with Session(sys.argv[1]) as session:
    outputs = session.run(np.float32([[3, 0, 1], [1, 0, 2]]))
assert "tvm" not in sys.modules
print({name: array.tolist() for name, array in outputs.items()})
"""


def test_a_function_of_the_compiler_is_refused() -> None:
    builder = relax.BlockBuilder()
    data = relax.Var("x", relax.TensorType([4], "float32"))
    with builder.function("main", [data]):
        kind = relax.TensorType(ndim=2, dtype="int64")
        call = relax.call_pure_packed("relax.run.nonzero", data, ty_args=kind)
        builder.emit_func_output(builder.emit(call))
    with pytest.raises(CompilationError, match=r"relax.run.nonzero"):
        require_runtime_functions(builder.get())


def test_the_runtime_alone_ranks_counts_and_selects(tmp_path: Path) -> None:
    model = parser.parse_model("""<ir_version: 10, opset_import: ["" : 20]>
        g (float[2, 3] x) => (float[2, 2] v, int64[2, 2] i, int64[2, A] n, float[B] u, float[C] c)
          <int64[1] k = {2}, bool[2] keep = {0, 1}> {
          v, i = TopK(x, k)
          n = NonZero(x)
          u = Unique(x)
          c = Compress(x, keep)
        }""")
    artifact = compile_model(model, tmp_path / "m.ingot", recipe={"fallback": False})
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(artifact.path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert eval(done.stdout) == {
        "v": [[3, 1], [2, 1]],
        "i": [[0, 2], [2, 0]],
        "n": [[0, 0, 1, 1], [0, 2, 0, 2]],
        "u": [0, 1, 2, 3],
        "c": [0],
    }
