"""Artifacts whose code leaves a mark as soon as it is loaded."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

from ingot.compiler.artifact_writer import describe_members, write_artifact
from ingot.compiler.build import Artifact
from ingot.runtime.artifact import ArtifactReader
from ingot.runtime.manifest import CODE_MEMBER

SOURCE = """
#include <stdlib.h>
#include <unistd.h>
#include <fcntl.h>
__attribute__((constructor)) static void leave_a_mark(void) {
    close(open("%s", O_CREAT | O_WRONLY, 0600));
}
"""


def with_marking_code(artifact: Artifact, path: Path, mark: Path) -> Path:
    """Writes an artifact like another one, but with code that makes the file ``mark`` when loaded.

    All its digests are right. The code has no kernels: after the mark, loading fails.
    """
    source, library = path.with_suffix(".c"), path.with_suffix(".so")
    source.write_text(SOURCE % mark)
    command = [sys.executable, "-m", "ziglang", "cc", "-shared", "-fPIC", "-o", library, source]
    subprocess.run(command, check=True)
    reader = ArtifactReader(artifact.path)
    members = {name: bytes(reader.member(name)) for name in reader.manifest.members}
    members[CODE_MEMBER] = library.read_bytes()
    manifest = dataclasses.replace(reader.manifest, members=describe_members(members))
    write_artifact(path, manifest, members)
    return path
