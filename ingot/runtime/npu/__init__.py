"""NPU regions of an artifact and what executes them; imported when an artifact has such regions."""
