"""What a deployed machine needs and no more: reading artifacts and running them.

Needs NumPy and a C library of its own; neither the compiler nor ONNX.
"""

from ingot.runtime.artifact import ArtifactReader
from ingot.runtime.manifest import Manifest, TensorSpec
from ingot.runtime.session import Session

__all__ = ["ArtifactReader", "Manifest", "Session", "TensorSpec"]
