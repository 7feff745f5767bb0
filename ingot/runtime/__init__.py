"""What a deployed machine needs and no more: reading artifacts and running them.

Needs NumPy, apache-tvm-ffi and the TVM runtime library; neither the compiler nor ONNX.
"""

from ingot.runtime.artifact import ArtifactReader
from ingot.runtime.manifest import Manifest, TensorSpec
from ingot.runtime.session import Session

__all__ = ["ArtifactReader", "Manifest", "Session", "TensorSpec"]
