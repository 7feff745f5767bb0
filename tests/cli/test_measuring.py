"""What the commands that measure share."""

import pytest

from ingot.cli.measuring import parse_threads, progress
from ingot.errors import UsageError


def test_threads_are_a_list_of_numbers():
    assert parse_threads("1,2,4") == [1, 2, 4]
    with pytest.raises(UsageError, match="'1;2' is no list of numbers"):
        parse_threads("1;2")


def test_in_a_log_a_step_is_a_line_and_a_long_one_five(capsys):
    with progress() as tell:
        tell("compiling", 0, 0)
        for done in range(10):
            tell("short", done, 10)
        for done in range(1001):
            tell("long", done, 1000)
    assert capsys.readouterr().err.splitlines() == [
        "compiling",
        "short",
        "long",
        "long: 250 of 1,000",
        "long: 500 of 1,000",
        "long: 750 of 1,000",
        "long: 1,000 of 1,000",
    ]
