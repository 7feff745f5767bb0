"""Mathematical functions of float32 that LLVM keeps in vectors, in place of calls of libm."""

from ingot.targets.cpu.vector_math.functions import erf, exp, exp2, log, rsqrt, sigmoid, tanh
from ingot.targets.cpu.vector_math.replacement import replace_math_calls

__all__ = ["erf", "exp", "exp2", "log", "replace_math_calls", "rsqrt", "sigmoid", "tanh"]
