"""The CPU target: machine description, lowering through Relax to LLVM, kernels."""
