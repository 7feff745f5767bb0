"""Targets from strings and tables; what does not exist is refused with the nearest that does."""

from __future__ import annotations

import pytest

from ingot.errors import UsageError
from ingot.targets.registry import parse_target


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("cpu:mcpu=znver4", "cpu:mcpu=znver4,l1d=32K,l2=1M,l3=4M,cores=8"),
        ("cpu:mcpu=znver4,threads=2", "cpu:mcpu=znver4,threads=2,l1d=32K,l2=1M,l3=4M"),
        ("cpu: mcpu = znver4 , threads = 2", "cpu:mcpu=znver4,threads=2,l1d=32K,l2=1M,l3=4M"),
        ({"kind": "cpu", "mcpu": "haswell"}, "cpu:mcpu=haswell,l1d=32K,l2=256K,l3=2M,cores=8"),
    ],
)
def test_a_spec_comes_back_with_its_defaults(spec: str | dict[str, str], expected: str) -> None:
    assert parse_target(spec).spec == expected


def test_the_default_processor_is_this_machines() -> None:
    assert parse_target("cpu").spec == parse_target("cpu:mcpu=native").spec != "cpu:mcpu=native"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gpu", "no target is called 'gpu'; the targets are cpu, cuda, npu"),
        ("cpu:mcp=znver4", "target cpu has no option 'mcp'; did you mean 'mcpu'?"),
        ("cpu:zzz=1", "target cpu has no option 'zzz'; valid: mcpu, threads"),
        ("cpu:threads", "'threads' is not KEY=VALUE"),
        ("cpu:threads=0", "target cpu, option 'threads': Input should be greater than"),
        ("cpu:threads=two", "target cpu, option 'threads': Input should be a valid integer"),
    ],
)
def test_what_does_not_exist_is_refused(spec: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_target(spec)
    assert message in str(error.value)


def test_a_processor_that_llvm_does_not_know_is_refused() -> None:
    with pytest.raises(UsageError, match="LLVM knows no .* processor called 'z80'"):
        _ = parse_target("cpu:mcpu=z80").spec
