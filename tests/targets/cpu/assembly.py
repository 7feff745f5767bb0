"""Reading machine code: the innermost loops that accumulate, and what they do besides."""

from __future__ import annotations

import dataclasses
import re

_LABEL = re.compile(r"^(\.LBB\w+):")
_JUMP = re.compile(r"^\s+j\w+\s+(\.LBB\w+)")
# The frame pointer is one more register of these functions: LLVM addresses the stack by rsp alone.
_STACK = re.compile(r"\(%rsp")
# AT&T syntax: the destination comes last.
_VECTOR_STORE = re.compile(r"vmov\w+\s+%[xyz]mm\d+, .*\)$")


@dataclasses.dataclass(frozen=True)
class Loop:
    """An innermost loop of x86 code.

    Attributes:
        instructions: Its instructions, the jump back to the first of them included.
    """

    instructions: tuple[str, ...]

    @property
    def spills(self) -> list[str]:
        """The instructions that store vectors, or use the stack: what registers do not hold."""
        return [
            line for line in self.instructions if _STACK.search(line) or _VECTOR_STORE.match(line)
        ]

    def __str__(self) -> str:
        return "\n".join(self.instructions)


def innermost_loops(assembly: str) -> list[Loop]:
    """Returns the loops that contain no other label: from a label to a jump back to it."""
    lines = assembly.splitlines()
    places = {found[1]: at for at, line in enumerate(lines) if (found := _LABEL.match(line))}
    loops = []
    for at, line in enumerate(lines):
        jump = _JUMP.match(line)
        start = places.get(jump[1], at) if jump else at
        if start < at and not any(_LABEL.match(inside) for inside in lines[start + 1 : at]):
            body = [inside.strip() for inside in lines[start + 1 : at + 1]]
            loops.append(Loop(tuple(i for i in body if i and not i.startswith((".", "#")))))
    return loops


def accumulating_loops(assembly: str, register: str, instruction: str = "vfmadd") -> list[Loop]:
    """Returns the innermost loops with an instruction on ``ymm`` or ``zmm`` registers."""
    return [
        loop
        for loop in innermost_loops(assembly)
        if any(i.startswith(instruction) and register in i for i in loop.instructions)
    ]
