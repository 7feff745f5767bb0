"""The program of an artifact: which kernels its code runs, in which order, and the memory between.

The code of an artifact is a shared library of kernels, and a text that says how they are used. The
text is JSON. Its instructions are one list of integers, which the runtime's library executes as it
is (``native/program.c`` says what each does): tensors, storages and sizes live in numbered places.
The model's inputs are the first tensors, its weights the next ones.
"""

from __future__ import annotations

import base64
import binascii
import ctypes
import dataclasses
import enum
import functools
import json
from collections.abc import Sequence

from ingot.errors import ArtifactError
from ingot.runtime.interface import Interface
from ingot.runtime.typed_json import decode, parse_json

PROGRAM_VERSION = 1
PROGRAM_SYMBOL = "ingot_program"
KERNEL_PREFIX = "__tvm_ffi_"
# The code's variable for the function that takes errors of several parts.
RAISE_POINTER = "ingot_raise_parts"


class Op(enum.IntEnum):
    """The instructions; ``native/program.c`` has the same numbers."""

    END = 0
    CALL = 1
    SIZE_CALL = 2
    STORAGE = 3
    OUTPUT = 4
    SCRATCH = 5
    FREE = 6
    TENSOR = 7
    VIEW = 8
    ALIAS = 9
    DIMENSION = 10
    COPY = 11
    MATCH = 12
    READ = 13
    WRITE = 14
    UNLESS = 15
    JUMP = 16
    REGION = 17
    DATA = 18
    RANK = 19


class Argument(enum.IntEnum):
    """The kinds of a kernel's arguments."""

    TENSOR = 0
    NUMBER = 1
    SLOT = 2
    REAL = 3
    SLOTS = 4


# DLPack's codes of types, by the beginning of their names; the rest is their bits.
_TYPE_CODES = {"int": 0, "uint": 1, "float": 2, "bfloat": 4, "complex": 5}
_BOOL_CODE = 6


def type_code(dtype: str) -> tuple[int, int]:
    """Returns DLPack's code and the bits of a dtype that code holds, by its name."""
    if dtype == "bool":
        return _BOOL_CODE, 8
    prefix = dtype.rstrip("0123456789")
    return _TYPE_CODES[prefix], int(dtype[len(prefix) :])


@dataclasses.dataclass(frozen=True)
class Constant:
    """A small tensor that the program holds itself.

    Attributes:
        tensor: Its number.
        dtype: Its dtype's name.
        shape: Its dimensions.
        data: Its bytes, in base64.
    """

    tensor: int
    dtype: str
    shape: tuple[int, ...]
    data: str

    def contents(self) -> bytes:
        """Returns its bytes.

        Raises:
            ArtifactError: They are damaged.
        """
        try:
            return base64.b64decode(self.data, validate=True)
        except binascii.Error as error:
            raise ArtifactError(f"the artifact's code is damaged: a constant: {error}") from error


@dataclasses.dataclass(frozen=True)
class Program:
    """What the runtime's library executes.

    Attributes:
        version: Of this format.
        interface: What the code was compiled for.
        kernels: Names of the kernels, in the order of their numbers.
        regions: Names of the regions, likewise, as code calls them.
        ranks: The rank of each tensor; the highest one where a region decides.
        outputs: The tensors that are the model's outputs, in order.
        dynamic_outputs: Those, by their place, whose memory the program takes from the arena.
        storages: How many storages there are.
        slots: How many slots for sizes.
        most_arguments: Of a kernel.
        scratch: Bytes of the storages that have places of their own.
        constants: Small tensors.
        words: The instructions.
    """

    version: int
    interface: Interface
    kernels: tuple[str, ...]
    regions: tuple[str, ...]
    ranks: tuple[int, ...]
    outputs: tuple[int, ...]
    dynamic_outputs: tuple[int, ...]
    storages: int
    slots: int
    most_arguments: int
    scratch: int
    constants: tuple[Constant, ...]
    words: tuple[int, ...]

    @functools.cached_property
    def most_events(self) -> int:
        """How many calls of kernels and regions an execution makes at most."""
        return sum(map(self.words.count, (Op.CALL, Op.SIZE_CALL, Op.REGION)))

    def to_json(self) -> str:
        """Returns the program as JSON."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: bytes) -> Program:
        """Parses a program.

        Raises:
            ArtifactError: It is none, or of a version that this Ingot does not know.
        """
        try:
            raw = parse_json(text)
            version = raw.get("version") if isinstance(raw, dict) else None
            if version != PROGRAM_VERSION:
                raise ArtifactError(
                    f"the artifact's code has a program of version {version}, this Ingot executes "
                    f"version {PROGRAM_VERSION}: compile the model again, or install the Ingot "
                    "that made it"
                )
            program: Program = decode(cls, raw)
        except ValueError as error:
            raise ArtifactError(f"the artifact's code is damaged: its program: {error}") from error
        return program


def as_words(values: Sequence[int]) -> ctypes.Array[ctypes.c_int64]:
    """Returns integers as the library takes them."""
    return (ctypes.c_int64 * len(values))(*values)
