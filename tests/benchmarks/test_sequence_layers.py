"""The benchmark of sequence layers builds valid models and prints its table."""

from __future__ import annotations

import onnx
import pytest

from benchmarks.sequence_layers import LAYERS, main
from ingot.reference.session import Reference


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_layers_are_valid_models(name: str) -> None:
    model = LAYERS[name]()
    onnx.checker.check_model(model, full_check=True)
    assert Reference(model).outputs == ("y",)


def test_a_layer_from_end_to_end(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--models", "rnn_100x1x128", "--threads", "1", "--runs", "4"]
    assert main(arguments) == 0
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert len(table) == 3
    assert "rnn_100x1x128" in table[2]
