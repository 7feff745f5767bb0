"""The weights of integer kernels: what passes over a panel ask for of the next one."""

from __future__ import annotations

import tvm_ffi
from hypothesis import given
from hypothesis import strategies as st
from tvm import ir, sym, tirx

from ingot.targets.cpu.kernels.words.dot import GROUP
from ingot.targets.cpu.kernels.words.weights import WordWeights
from ingot.targets.cpu.kernels.writing.emission import Emitter, index
from ingot.targets.cpu.machine import CACHE_LINE_BYTES

PANELS, TAPS, GROUPS = 3, 2, 64


def lines_asked(width: int, groups: int, number: int, passes: int) -> list[tuple[int, ...]]:
    """The panel, tap, first group and line that a pass asks for at group 8 of panel 1's tap 1."""
    packed = tirx.decl_buffer([PANELS, TAPS, GROUPS, GROUP * width], "int8")
    offsets = tirx.decl_buffer([PANELS, width], "int32")
    emitter = Emitter()
    WordWeights(packed, offsets, depth=1).prefetch_next(
        emitter, index(1), (index(1), index(8)), groups, (index(number), passes)
    )
    asked: list[tuple[int, ...]] = []

    def note(element: tirx.Expr) -> tirx.Expr:
        *place, byte = (int(sym.Analyzer().simplify(at)) for at in element.indices)
        asked.append((*place, byte // CACHE_LINE_BYTES))
        return element

    tvm_ffi.structural_map(emitter.body(), [(ir.TensorLoad, note)])
    return asked


@given(
    width=st.sampled_from([16, 32, 48, 64]),
    groups=st.integers(1, 16),
    passes=st.integers(1, 64),
)
def test_passes_together_ask_for_each_line_of_a_step(width: int, groups: int, passes: int) -> None:
    lines = groups * GROUP * width // CACHE_LINE_BYTES
    asked = [lines_asked(width, groups, number, passes) for number in range(passes)]
    assert {line for each in asked for line in each} == {(2, 1, 8, line) for line in range(lines)}
    assert {len(each) for each in asked} == {-(-lines // passes)}


def test_many_passes_ask_for_nothing() -> None:
    # So many multiply-adds take longer than the weights do to come.
    assert lines_asked(32, 16, 0, 1000) == []
