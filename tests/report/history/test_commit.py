"""The commit of the project around the current folder."""

import shutil
import subprocess

import pytest

from ingot.report.history.commit import current_commit


@pytest.fixture
def repository(tmp_path, monkeypatch):
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    def git(*arguments):
        who = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *who, *arguments], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "-q")
    return git


def test_is_the_heads_with_a_plus_where_files_differ(repository, tmp_path):
    file = tmp_path / "file"
    file.write_text("1")
    assert current_commit() is None  # there is none yet
    repository("add", "file")
    repository("commit", "-qm", "first")
    head = repository("rev-parse", "HEAD")
    assert current_commit() == head[:12]
    (tmp_path / "untracked").write_text("1")
    assert current_commit() == head[:12]
    file.write_text("2")
    assert current_commit() == f"{head[:12]}+"


def test_is_none_outside_of_repositories_and_without_git(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert current_commit() is None
    monkeypatch.setenv("PATH", "")
    assert current_commit() is None
