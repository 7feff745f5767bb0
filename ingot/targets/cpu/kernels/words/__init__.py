"""Kernels that multiply 32-bit words: four 8-bit integers, or two bfloat16, of each operand.

The rounding of integers is defined once for every processor. A sum of products is an exact 32-bit
integer, so its order does not count; the epilogue is float32 arithmetic, and quantization at its
end rounds half to even. Code for AVX2, AVX-512, VNNI and NEON therefore gives the same bits.
Products of bfloat16 are added in float32, in an order that vectors of any processor share, and
AMX's tiles do not.
"""
