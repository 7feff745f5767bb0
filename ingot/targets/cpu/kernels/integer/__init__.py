"""Kernels whose operands are 8-bit integers: exact sums in 32 bits, then a float32 epilogue.

The rounding is defined once for every processor. A sum of products is an exact 32-bit integer, so
its order does not count; the epilogue is float32 arithmetic, and quantization at its end rounds
half to even. Code for AVX2, AVX-512, VNNI and NEON therefore gives the same bits.
"""
