"""Ctrl-C ends the command that it came in, and no other."""

from __future__ import annotations

import signal

import pytest

from ingot.cli.interruption import Interrupted, end_if_interrupted, happened, noticed


def test_an_interruption_that_was_swallowed_ends_the_command_at_its_next_step() -> None:
    with noticed():
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGINT)
        assert happened()
        with pytest.raises(Interrupted):
            end_if_interrupted()


def test_what_comes_after_an_interrupted_command_is_not_ended() -> None:
    with pytest.raises(Interrupted), noticed():
        signal.raise_signal(signal.SIGINT)
    assert not happened()
    end_if_interrupted()
