"""Whether compiled code agrees with the reference: on every sample, at every size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from ingot.compiler.agreement import compare_with_reference
from ingot.compiler.reference_samples import reference_samples
from ingot.errors import InputError, VerificationError
from ingot.reference.session import Reference
from tests.graphs import parse

MODEL = """<ir_version: 10, opset_import: ["":21]>
g (float[N, 4] x) => (float[N, 4] y, float[N, 4] z) { y = Sigmoid(x)  z = Neg(x) }"""

Outputs = dict[str, Any]


class Code:
    """Stands for compiled code: the reference, with a fault."""

    def __init__(self, model: ir.Model, fault: Callable[[Outputs], Outputs]) -> None:
        self._reference, self._fault = Reference(model), fault

    def run(self, inputs: Mapping[str, Any]) -> Outputs:
        return self._fault(self._reference.run(inputs))


def compare(fault: Callable[[Outputs], Outputs], text: str = MODEL) -> dict[str, Any]:
    model = parse(text)
    code: Any = Code(model, fault)
    return compare_with_reference(code, model, reference_samples(model).samples, 1e-4)


def test_what_was_compared_is_told() -> None:
    outcome = compare(lambda outputs: outputs)
    assert (outcome["ran"], outcome["max_abs_error"], outcome["samples"]) == (True, 0.0, 4)
    assert outcome["sizes"] == [{"N": 2}, {"N": 1}, {"N": 3}, {"N": 4}]


@pytest.mark.parametrize("size", [1, 3, 4])
def test_a_fault_at_one_size_only_is_found(size: int) -> None:
    def spoil(outputs: Outputs) -> Outputs:
        wrong = outputs["z"] + (len(outputs["z"]) == size)
        return {**outputs, "z": wrong.astype(np.float32)}

    with pytest.raises(
        VerificationError,
        match=rf"not right: tensor 'z' differs by 1 .* on random inputs at N = {size}; please",
    ):
        compare(spoil)


def test_code_that_fails_where_the_reference_runs_is_refused_in_one_line() -> None:
    def fail(outputs: Outputs) -> Outputs:
        if len(outputs["y"]) == 1:
            raise ValueError("Check failed: (a == b) is false: tirx.internals\nat line 12")
        return outputs

    with pytest.raises(VerificationError, match="fails on random inputs at N = 1") as caught:
        compare(fail)
    assert "internals" not in str(caught.value)
    assert "--shape" in str(caught.value)

    def refuse(outputs: Outputs) -> Outputs:
        raise InputError("input x was given an empty array")

    with pytest.raises(VerificationError, match="which ONNX Runtime runs: input x was given"):
        compare(refuse)


def test_sizes_that_the_code_refuses_are_told_while_most_agree() -> None:
    def refuse_at(*sizes: int) -> Callable[[Outputs], Outputs]:
        def refuse(outputs: Outputs) -> Outputs:
            if len(outputs["y"]) in sizes:
                raise InputError("node 'add' (Add): sizes N + 1 and 2 are not equal")
            return outputs

        return refuse

    outcome = compare(refuse_at(1))
    assert outcome["sizes"] == [{"N": 2}, {"N": 3}, {"N": 4}]
    assert outcome["samples"] == 3
    (refused,) = outcome["refused"]
    assert refused["sizes"] == {"N": 1}
    assert refused["reason"].startswith("node 'add' (Add): sizes N + 1 and 2 are not equal")
    for sizes in ((2,), (1, 3), (1, 3, 4)):
        with pytest.raises(VerificationError, match="which ONNX Runtime runs: node 'add'"):
            compare(refuse_at(*sizes))


@pytest.mark.parametrize(
    ("dtype", "relative", "right"),
    [("float", 1e-3, False), ("float16", 2e-3, True), ("float16", 2e-2, False),
     ("bfloat16", 2e-2, True), ("bfloat16", 0.2, False)],
)  # fmt: skip
def test_what_is_allowed_follows_the_type_that_the_model_computes_in(
    dtype: str, relative: float, right: bool
) -> None:
    text = f"""<ir_version: 10, opset_import: ["":21]>
    g (float[2, 4] x) => (float[2, 4] y) {{
      a = Cast<to = {ir.DataType[dtype.upper()].value}>(x)  y = Cast<to = 1>(a)
    }}"""

    def shift(outputs: Outputs) -> Outputs:
        return {"y": (outputs["y"] * (1 + relative)).astype(np.float32)}

    if right:
        assert compare(shift, text)["max_rel_error"] == pytest.approx(relative, rel=0.1)
    else:
        with pytest.raises(VerificationError, match="the compiled code is not right"):
            compare(shift, text)


def test_sequences_are_compared_element_by_element() -> None:
    text = """<ir_version: 10, opset_import: ["":21]>
    g (float[2, 4] x) => (seq(float[2, 4]) y) { n = Neg(x)  y = SequenceConstruct(x, n) }"""
    assert compare(lambda outputs: outputs, text)["max_abs_error"] == 0
    with pytest.raises(VerificationError, match=r"tensor 'y\[1\]' differs by"):
        compare(lambda outputs: {"y": [outputs["y"][0], -outputs["y"][1]]}, text)
    with pytest.raises(VerificationError, match="tensor 'y': 2 elements have become 1"):
        compare(lambda outputs: {"y": outputs["y"][:1]}, text)
