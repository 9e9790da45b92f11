"""Code blocks of Markdown files: found, and turned into what a shell or Python can run.

A comment in the line above a block says when it is not simply run:

- ``<!-- not run: REASON -->``
- ``<!-- run by tox -e docs only: REASON -->``: takes long
- ``<!-- part of PATH -->``: is not run, but must stand in that file of the checkout, letter by letter
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["Block", "Command", "blocks_of", "commands_of", "python_script", "shell_script", "unlike"]

_FENCE = re.compile(r"( *)```(\S*) *$")
_COMMENT = re.compile(r" *<!-- (not run:|run by tox -e docs only:|part of) (.+) -->$")
_ANYTHING = re.compile(re.escape(re.escape("...")))


class Block(NamedTuple):
    """One fenced block."""

    file: str
    """Path of the Markdown file below the checkout."""
    line: int
    """Number of the first line inside the fence."""
    language: str
    text: str
    not_run: str = ""
    """Why it is never run; "" when it is."""
    takes_long: str = ""
    """Why only ``tox -e docs`` runs it; "" when every run does."""
    part_of: str = ""
    """The file of the checkout that it is taken from."""

    @property
    def name(self) -> str:
        """``file:line``."""
        return f"{self.file}:{self.line}"


class Command(NamedTuple):
    """One command of a console block, and the lines that it shall print (none: not compared)."""

    text: str
    expected: tuple[str, ...]


def blocks_of(root: Path, file: str) -> list[Block]:
    """All fenced blocks of ``root/file``, in order. Raises ValueError when a fence is not closed."""
    found: list[Block] = []
    lines = (root / file).read_text(encoding="utf-8").splitlines()
    opened: re.Match[str] | None = None
    begin = 0
    for number, line in enumerate(lines):
        fence = _FENCE.match(line)
        if opened is None and fence:
            opened, begin = fence, number + 1
        elif opened is not None and line.strip() == "```":
            indent = len(opened[1])
            text = "".join(inside[indent:] + "\n" for inside in lines[begin:number])
            comment = _COMMENT.match(lines[begin - 2]) if begin >= 2 else None
            kind, value = comment.groups() if comment else ("", "")
            found.append(
                Block(
                    file, begin + 1, opened[2], text, not_run=value if kind == "not run:" else "",
                    takes_long=value if kind.startswith("run by") else "", part_of=value if kind == "part of" else "",
                )
            )  # fmt: skip
            opened = None
    if opened is not None:
        raise ValueError(f"{file}:{begin}: the block is not closed")
    return found


def commands_of(block: Block) -> list[Command]:
    """Commands are the lines after ``$ ``; what stands between them is output. Raises ValueError."""
    commands: list[Command] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            commands.append(Command(line[2:], ()))
        elif not commands:
            raise ValueError(f"{block.name}: a console block begins with a line '$ command', not {line!r}")
        elif commands[-1].text.endswith("\\") and not commands[-1].expected:
            commands[-1] = Command(f"{commands[-1].text}\n{line}", ())
        else:
            commands[-1] = commands[-1]._replace(expected=(*commands[-1].expected, line))
    return commands


def shell_script(commands: Sequence[Command], mark: str) -> str:
    """A bash script that runs the commands in one shell and prints ``mark`` after each; ends with the first failure."""
    # Not `set -e`: it looks away when all but the last of `a && b` fails.
    return "".join(f"{command.text}\ncode=$?\necho {mark}\n[ $code = 0 ] || exit $code\n" for command in commands)


def python_script(block: Block, earlier: Sequence[Block]) -> str:
    """The block, after the earlier blocks of its file that only import and define.

    Each stands at its own line number, so that a traceback names lines of the Markdown file.
    """
    lines: list[str] = []
    for one in [*filter(_only_defines, earlier), block]:
        lines.extend([""] * (one.line - 1 - len(lines)))
        lines.extend(one.text.splitlines())
    return "\n".join(lines) + "\n"


def _only_defines(block: Block) -> bool:
    kinds = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)
    return all(isinstance(statement, kinds) for statement in ast.parse(block.text).body)


def unlike(expected: Sequence[str], printed: str) -> bool:
    """Whether the output is not what the block shows. ``...`` stands for any text, alone in a line for any lines."""
    if not expected:
        return False
    pattern = "".join(
        r"(?:.*\n)*" if line.strip() == "..." else _ANYTHING.sub(".*", re.escape(line.rstrip())) + r"[ \t]*\n"
        for line in expected
    )
    return re.fullmatch(pattern, printed) is None
