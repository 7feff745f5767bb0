"""Running a model on an NVIDIA GPU: the driver by ctypes, the plan of an artifact, its launches."""
