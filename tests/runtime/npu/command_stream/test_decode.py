"""Words of a command stream as commands."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingot.errors import ArtifactError
from ingot.runtime.npu.command_stream.decode import CommandStreamError, Opcode, decode

STOP = 0xFFFF0000


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def test_a_word_alone_has_a_parameter():
    command = decode(words(0x00050100, STOP))[0]
    assert (command.index, command.opcode) == (0, Opcode.SET_IFM_PAD_TOP)
    assert (command.parameter, command.payload) == (5, 0)


def test_a_word_with_payload_is_one_command():
    commands = decode(words(0x00014000, 0xDEADBEEF, STOP))
    assert [command.opcode for command in commands] == [Opcode.SET_IFM_BASE0, Opcode.OP_STOP]
    assert (commands[0].parameter, commands[0].payload) == (1, 0xDEADBEEF)
    assert commands[1].index == 1


@given(st.integers(0, 0xFFFF).filter(lambda code: code not in set(Opcode)))
def test_what_is_no_command_is_an_error(code):
    with pytest.raises(CommandStreamError, match=r"command 1 \(word 1, 0x.*\) is no command"):
        decode(words(0x00050100, code, STOP))


@given(st.sampled_from(Opcode), st.integers(0, 15))
def test_bits_that_mean_nothing_are_an_error(opcode, bit):
    word = opcode | 1 << 16 + bit
    stream = words(word, *[0] * opcode.has_payload, STOP)
    if opcode.parameter_bits >> bit & 1:
        if opcode is not Opcode.OP_STOP:
            assert decode(stream)[0].parameter == 1 << bit
        return
    with pytest.raises(CommandStreamError, match=f"sets bits that {opcode.title} does not define"):
        decode(stream)


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (words(0x00050100), "ends without NPU_OP_STOP"),
        (b"", "ends without NPU_OP_STOP"),
        (words(STOP, 0x00050100), "1 words after NPU_OP_STOP"),
        (words(0x00004000), "NPU_SET_IFM_BASE0, and its payload is cut off"),
        (words(STOP)[:3], "not whole 32-bit words"),
    ],
)
def test_a_damaged_stream_is_an_error(stream, error):
    with pytest.raises(CommandStreamError, match=error):
        decode(stream)


def test_a_damaged_stream_is_a_damaged_artifact():
    assert issubclass(CommandStreamError, ArtifactError)
