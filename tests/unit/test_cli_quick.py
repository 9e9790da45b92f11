"""``ls`` without click: it says what click says, or leaves the command line to click."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3engine.cli.buckets import ls_command
from s3engine.cli.quick import values_of_ls

_WORDS = [
    "s3://bucket/", "s3://bucket/p", "-r", "--recursive", "--json", "--no-sign-request", "--no-verify-ssl",
    "--endpoint-url", "http://127.0.0.1:9", "--endpoint-url=http://h", "--profile", "name", "--region", "--region=", "",
    "--ca-bundle", "--transport", "raw", "--config", "--include", "*.txt", "--include=*", "--exclude", "--workers", "4",
    "--workers=4", "-n", "-n4", "-n=4", "--concurrency", "+5", "05", "5_0", " 6", "7.0", "\u0663", "-1", "--", "-",
    "--rec", "-rn", "--help", "-h", "--json=1", "--from", "--max-delete", "--unknown",
]  # fmt: skip


def _by_click(arguments: list[str]) -> dict[str, Any] | None:
    try:
        context = ls_command.make_context("ls", arguments)
    except (click.ClickException, click.exceptions.Exit):
        return None
    return context.params


@given(st.lists(st.sampled_from(_WORDS), max_size=7))
def test_quick_says_what_click_says(arguments: list[str]) -> None:
    """Whatever stands on the command line, the values are those of click, or None, which leaves it to click."""
    values = values_of_ls(arguments)
    assert values is None or values == _by_click(list(arguments))


@pytest.mark.parametrize("more", [
    [], ["-r", "--json"], ["--endpoint-url", "http://h", "--region=x", "-n", "4", "--workers", "2"],
    ["--no-sign-request", "--no-verify-ssl", "--concurrency=3", "--transport", "raw", "--recursive"],
    ["--include", "*.a", "--include=b", "--exclude", "c", "--profile", "p", "--ca-bundle", "f", "--config", "c.toml"],
])  # fmt: skip
def test_every_option_of_ls_is_known(more: list[str]) -> None:
    """What is said in full needs no click."""
    values = values_of_ls(["s3://bucket/p", *more])
    assert values == _by_click(["s3://bucket/p", *more])
    assert values is not None


def test_no_option_of_ls_is_missing() -> None:
    """An option that ls gets has a place in the quick tables too."""
    values = values_of_ls(["s3://bucket/p"])
    assert values is not None
    assert values.keys() == {parameter.name for parameter in ls_command.params}


_PROGRAM = """
import atexit, sys, threading, time
sys.argv[1:] = ["--version"]
from s3engine.cli import program
atexit.register(lambda: print("at exit"))
{before}
program()
"""


@pytest.mark.parametrize("before", ["", "threading.Thread(target=lambda: (time.sleep(0.1), print('thread'))).start()"])
def test_the_program_ends_with_all_said(before: str) -> None:
    """The short end runs what waits for the end, flushes a stream that is a pipe, and waits for threads."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(before=before)], capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    assert lines[0].startswith("s3engine ")
    assert lines[1:] == (["thread", "at exit"] if before else ["at exit"])
    assert done.stderr == ""
