"""The selection of examples."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from ingot.data.base import choose


@given(st.integers(1, 200), st.integers(1, 250))
def test_a_limit_keeps_order_and_spreads_evenly(count, limit):
    chosen = choose(range(count), limit)
    assert len(chosen) == min(count, limit)
    assert chosen == sorted(set(chosen))
    gaps = {after - before for before, after in itertools.pairwise(chosen)}
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_without_a_limit_all_are_taken():
    assert choose("abc", None) == ["a", "b", "c"]
