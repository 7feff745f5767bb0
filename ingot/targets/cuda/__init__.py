"""The CUDA target: Relax, TVM's GPU schedule rules, and NVRTC."""
