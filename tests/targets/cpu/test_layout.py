"""Convolutions are channels last wherever they stand."""

from __future__ import annotations

import numpy as np
import pytest

import ingot
from ingot.reference.session import Reference
from tests.graphs import parse


@pytest.mark.parametrize(
    ("image", "kernel", "pads"),
    [
        ("2, 3, 12", "4, 3, 3", "1, 1"),
        ("2, 3, 6, 5", "4, 3, 3, 3", "1, 1, 1, 1"),
        ("2, 3, 4, 3, 5", "4, 3, 3, 3, 3", "1, 1, 1, 1, 1, 1"),
    ],
)
def test_convolutions_in_branches_run_by_the_kernels_of_others(tmp_path, image, kernel, pads):
    size = int(np.prod([int(part) for part in kernel.split(",")]))
    numbers = ", ".join(f"{number:.3f}" for number in np.random.default_rng(0).normal(size=size))
    result = ", ".join(["2", "4", *image.split(", ")[2:]])
    model = parse(
        f"""<ir_version: 10, opset_import: ["":21]>
        g (float[{image}] x, bool c) => (float[{result}] y) <float[{kernel}] w = {{{numbers}}}> {{
          y = If (c) <
            then_branch = one () => (float[{result}] t) {{
              a = Conv<pads = [{pads}]>(x, w)  t = Relu(a) }},
            else_branch = other () => (float[{result}] e) {{
              b = Neg(x)  d = Conv<pads = [{pads}]>(b, w)  e = Tanh(d) }}
          >
        }}"""
    )
    artifact = ingot.compile(model, tmp_path / "model.ingot")
    assert not artifact.manifest.regions
    assert not artifact.manifest.placement["cpu"]["unscheduled"]
    session, reference = ingot.Session(artifact.path), Reference(model)
    x = np.random.default_rng(1).normal(size=[int(part) for part in image.split(",")])
    for chosen in (True, False):
        inputs = {"x": x.astype(np.float32), "c": np.array(chosen)}
        found, expected = session.run(inputs)["y"], reference.run(inputs)["y"]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
