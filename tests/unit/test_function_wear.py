"""When a function process has had enough."""

from __future__ import annotations

import errno
import os
import resource

import pytest

from s3engine.functions.wear import Wear, is_want


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (OSError(errno.EMFILE, "Too many open files"), True),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
        (MemoryError(), True),
        (RuntimeError("can't start new thread"), True),
        (RuntimeError("something else"), False),
        (FileNotFoundError(errno.ENOENT, "No such file"), False),
        (ValueError(), False),
    ],
)  # fmt: skip
def test_what_says_that_something_ran_out(error: Exception, wanted: bool) -> None:
    """Errors for want of memory, descriptors or threads are told from all others."""
    assert is_want(error) is wanted


def test_descriptors_wear_a_process_out() -> None:
    """Half of the descriptors that were free are too many, and it is looked for ten times a second at most."""
    now = [0.0]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    opened: list[int] = []
    try:
        wear = Wear(2, lambda: now[0])
        while len(opened) < 110:
            opened.append(os.open(os.devnull, os.O_RDONLY))
        assert not wear.worn()
        now[0] = 0.2
        assert wear.worn()
        while opened:
            os.close(opened.pop())
        now[0] = 0.4
        assert not wear.worn()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in opened:
            os.close(fd)


def test_memory_wears_a_process_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Growth beyond its share of half the limit is too much; what it had from the beginning does not count."""
    now, own = [0.0], [1000]
    monkeypatch.setattr("s3engine.functions.wear._own_bytes", lambda: own[0])
    limits = {resource.RLIMIT_DATA: (400, 400), resource.RLIMIT_NOFILE: (1024, 1024)}
    monkeypatch.setattr(resource, "getrlimit", limits.__getitem__)
    wear = Wear(2, lambda: now[0])
    for now[0], own[0], worn in ((1.0, 1090, False), (2.0, 1101, True), (3.0, 1050, False)):
        assert wear.worn() is worn
