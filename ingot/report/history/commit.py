"""The commit of the project that Ingot is called in."""

from __future__ import annotations

import subprocess

_LENGTH = 12
_SECONDS = 20.0


def current_commit() -> str | None:
    """The commit of the Git repository around the current folder, as 12 digits.

    With ``+`` behind it where tracked files differ from the commit; None where there is no
    repository, no commit, or no Git.
    """
    head = _git("rev-parse", "--verify", f"--short={_LENGTH}", "HEAD")
    if head is None:
        return None
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return f"{head}+" if changed else head


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
