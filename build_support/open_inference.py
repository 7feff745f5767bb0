"""Compiles the gRPC messages of the Open Inference Protocol: `pip install grpcio-tools`, then this.

Writes ingot/serving/grpc/open_inference.binpb, which the server reads.
"""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "ingot" / "serving" / "grpc"


def main() -> int:
    """Compiles; returns the compiler's exit code."""
    from grpc_tools import protoc

    code: int = protoc.main(
        [
            "protoc",
            f"--proto_path={FOLDER}",
            f"--descriptor_set_out={FOLDER / 'open_inference.binpb'}",
            str(FOLDER / "open_inference.proto"),
        ]
    )
    return code


if __name__ == "__main__":
    sys.exit(main())
