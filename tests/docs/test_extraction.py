"""The finding and running of code blocks itself: nothing that is wrong in a document may pass."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.docs.blocks import Block, Command, blocks_of, commands_of, python_script, shell_script, unlike

PAGE = """\
# Page
```python
import os
```
text
<!-- not run: it never ends -->
```console
$ one
out
$ two \\
    --three
```
  <!-- run by tox -e docs only: slow -->
  ```console
  $ four
  ```
<!-- part of src/x.py -->
```python
print(os.sep)
```
"""


@pytest.fixture
def blocks(tmp_path: Path) -> list[Block]:
    """The blocks of PAGE."""
    (tmp_path / "page.md").write_text(PAGE)
    return blocks_of(tmp_path, "page.md")


def test_blocks_are_found_with_their_comments(blocks: list[Block]) -> None:
    """Language, place and what the comment above says."""
    assert [(block.name, block.language) for block in blocks] == [
        ("page.md:3", "python"), ("page.md:8", "console"), ("page.md:15", "console"), ("page.md:19", "python"),
    ]  # fmt: skip
    assert [(block.not_run, block.takes_long, block.part_of) for block in blocks] == [
        ("", "", ""), ("it never ends", "", ""), ("", "slow", ""), ("", "", "src/x.py"),
    ]  # fmt: skip
    assert blocks[2].text == "$ four\n"


def test_unclosed_block_is_refused(tmp_path: Path) -> None:
    """A fence without an end would swallow the blocks after it."""
    (tmp_path / "page.md").write_text("```python\nx\n")
    with pytest.raises(ValueError, match=r"page\.md:1: the block is not closed"):
        blocks_of(tmp_path, "page.md")


def test_commands_have_their_output(blocks: list[Block]) -> None:
    """Lines without ``$`` are output of the command above, or go on with it after a backslash."""
    assert commands_of(blocks[1]) == [Command("one", ("out",)), Command("two \\\n    --three", ())]
    with pytest.raises(ValueError, match="begins with a line"):
        commands_of(blocks[0])


def test_python_gets_the_definitions_above_it(blocks: list[Block]) -> None:
    """At their own line numbers; statements that do something are not repeated."""
    lines = python_script(blocks[3], [blocks[0]]).splitlines()
    assert (lines[2], lines[18], len(lines)) == ("import os", "print(os.sep)", 19)
    does_something = blocks[0]._replace(text="print()\n")
    assert "print()" not in python_script(blocks[3], [does_something])


@pytest.mark.parametrize("command", ["false", "false && true", "false | false", "exit 3"])
def test_failing_command_ends_the_block(command: str) -> None:
    """Also where a shell with ``set -e`` goes on."""
    script = shell_script([Command(command, ()), Command("echo went on", ())], "MARK")
    done = subprocess.run(["bash", "-c", script], check=False, capture_output=True, text=True)
    assert done.returncode != 0
    assert "went on" not in done.stdout


@pytest.mark.parametrize(
    ("expected", "printed", "differs"),
    [
        ((), "anything\n", False),
        (("a (1)",), "a (1)\n", False),
        (("a",), "a\nb\n", True),
        (("a", "b"), "a\n", True),
        (("took ... s", "b"), "took 1.5 s\nb\n", False),
        (("took ... s",), "took 1.5\n", True),
        (("a", "...", "z"), "a\nb\nc\nz\n", False),
        (("a", "...", "z"), "a\nz\n", False),
        (("a", "...", "z"), "a\nb\n", True),
    ],
)
def test_output_is_compared(expected: tuple[str, ...], printed: str, differs: bool) -> None:
    """Line by line, but for what ``...`` leaves open."""
    assert unlike(expected, printed) is differs
