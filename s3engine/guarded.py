"""A server process that does not outlive its owner, not even one that is killed with SIGKILL.

    process that owns GuardedProcess --pipe--> guard process --child--> server

The guard exists for the case that the owner is killed with SIGKILL and can stop nothing any more: it sees the end of
the pipe, stops the server, removes what is to be removed and ends. ``PR_SET_PDEATHSIG`` would be the kernel's way, but
it fires when the *thread* that started the child ends, needs code between fork and exec, and is Linux alone.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["GuardedProcess"]

_TERM_GRACE_S = 5.0
_LOG_LINES = 12

# Runs as `python -I -S -c`; argv: the owner's pid, the grace, what to remove at the end (a path a line), the command.
# The end of standard input says that the owner closed the pipe or died. A process forked from the owner may hold the
# pipe open longer than the owner lives, so a changed parent counts as well.
_GUARD = """
import os, select, shutil, signal, subprocess, sys
owner, grace_s, leftovers, command = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3], sys.argv[4:]
signal.signal(signal.SIGINT, signal.SIG_IGN)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
try:
    while child.poll() is None and os.getppid() == owner:
        if select.select([0], [], [], 0.2)[0]:
            break
finally:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(grace_s)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    for path in filter(None, leftovers.split("\\n")):
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        elif os.path.exists(path):
            os.unlink(path)
"""


class GuardedProcess:
    """A server process that ends with this process, whatever ends this process.

    ``command`` runs in ``folder`` with ``environment`` (whole, not in addition), in a session of its own, so that
    Ctrl-C in the terminal reaches only its owner; its output goes to ``log_path``. ``remove_after`` are files and
    folders that go when it has ended.
    """

    def __init__(
        self, command: Sequence[str], *, environment: Mapping[str, str], folder: Path, log_path: Path,
        remove_after: Sequence[str] = (), term_grace_s: float = _TERM_GRACE_S,
    ) -> None:  # fmt: skip
        self.log_path = log_path
        self._term_grace_s = term_grace_s
        self._remove_after = tuple(remove_after)
        arguments = [str(os.getpid()), str(term_grace_s), "\n".join(remove_after), *command]
        with open(log_path, "ab") as log:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _GUARD, *arguments],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=folder,
                start_new_session=True,
            )
        self.process_group = self._guard.pid

    @property
    def alive(self) -> bool:
        """Whether the server runs (a server that ended is seen up to 0.2 s later)."""
        return self._guard.poll() is None

    def log_tail(self, lines: int = _LOG_LINES) -> str:
        """The last lines the server wrote."""
        try:
            with open(self.log_path, "rb") as log:
                log.seek(max(0, os.path.getsize(self.log_path) - 64 * 1024))
                return "\n".join(log.read().decode("utf-8", "replace").splitlines()[-lines:])
        except OSError:
            return ""

    def stop(self) -> None:
        """SIGTERM, SIGKILL to the whole group when that did not do, and reap. Calling it again does nothing."""
        guard = self._guard
        if guard.stdin is None or guard.stdin.closed:
            return
        try:
            with contextlib.suppress(OSError):
                guard.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs, and is killed below
                guard.wait(self._term_grace_s + 2.0)
        finally:
            # Only when the guard hangs or was killed itself: else the group is empty and its number free for others.
            if guard.poll() is None or guard.returncode < 0:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(self.process_group, signal.SIGKILL)
            guard.wait()
            for path in self._remove_after:
                # The guard did this, unless it was killed.
                shutil.rmtree(path, ignore_errors=True)
                with contextlib.suppress(OSError):
                    os.unlink(path)
