"""What the runner of the pages' examples takes for an example, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.page import PageError, Runner, blocks, commands, require_output


def run(text: str, *, network: bool = False) -> None:
    runner = Runner(network=network)
    for block in blocks(text):
        runner.run(block)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_blocks_know_their_line_their_language_and_their_directives() -> None:
    text = "# Title\n\n<!-- file: a.toml -->\n```toml\nx = 1\n```\n\ntext\n```\nplain\n```\n"
    first, second = blocks(text)
    assert (first.line, first.language, first.text) == (5, "toml", "x = 1\n")
    assert first.directives == {"file": "a.toml"}
    assert (second.language, second.directives) == ("", {})


def test_a_directive_ends_with_the_next_line_of_text() -> None:
    (block,) = blocks("<!-- network -->\ntext\n```sh\nfalse\n```\n")
    assert block.directives == {}


def test_python_blocks_share_a_namespace_and_files_are_written() -> None:
    run("<!-- file: n.txt -->\n```text\n41\n```\n```python\nn = int(open('n.txt').read())\n```\n"
        "```python\nprint(n + 1)\n```\n<!-- output -->\n```text\n42\n```\n")  # fmt: skip


def test_commands_may_go_on_in_the_next_line() -> None:
    assert commands("$ ls \\\n    -l\ntotal 0\n$ pwd\n") == [("ls -l", ["total 0"]), ("pwd", [])]


@pytest.mark.parametrize(
    "text",
    [
        "```python\nprint(1)\n```\n<!-- output -->\n```text\n2\n```\n",
        "```console\n$ echo one\ntwo\n```\n",
        "```console\n$ false\n```\n",
        "<!-- exits: 1 -->\n```console\n$ true\n```\n",
        "```sh\nfalse\ntrue\n```\n",
        "```console\n$ ingot run absent.ingot\n```\n",
        "```python\nnever ended\n",
    ],
)
def test_what_does_not_do_what_the_page_says_is_refused(text: str) -> None:
    with pytest.raises(PageError):
        run(text)


def test_an_exit_code_is_that_of_the_last_command() -> None:
    run("<!-- exits: 1 -->\n```console\n$ true\n$ ingot run absent.ingot\n"
        "ingot: error: there is no artifact at absent.ingot\n```\n")  # fmt: skip


def test_blocks_for_the_network_run_only_there() -> None:
    text = "<!-- network -->\n```console\n$ false\n```\n"
    run(text)
    with pytest.raises(PageError, match="false ended with 1"):
        run(text, network=True)


def test_output_is_in_order_with_gaps() -> None:
    require_output(["a", "…", "b … d"], "a\nx\nb   c d\n")
    with pytest.raises(PageError, match="not printed: 'a'"):
        require_output(["b", "a"], "a\nb\n")
