"""One run at a time: a lock beside the journal that ends with the process that holds it.

A POSIX record lock: unlike flock it is not inherited by forked workers, so it dies with the parent even where a worker
outlives it by a moment. It does not exclude two runs of one process; a set of paths does.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading

from s3engine.errors import ConfigError, JournalInUse

__all__ = ["JournalLock"]

_held: set[str] = set()
_guard = threading.Lock()


class JournalLock:
    """Held from the moment it is made until ``release``. Raises JournalInUse, ConfigError."""

    def __init__(self, path: str) -> None:
        self.path = f"{os.path.realpath(path)}-lock"
        with _guard:
            if self.path in _held:
                raise _in_use(path, os.getpid())
            try:
                self._fd = self._take(path)
            except OSError as error:
                raise ConfigError(f"cannot use the journal {path!r}: {error.strerror}") from None
            _held.add(self.path)

    def _take(self, path: str) -> int:
        while True:
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                pid = os.pread(fd, 20, 0).decode("ascii", "replace")
                os.close(fd)
                raise _in_use(path, int(pid) if pid.isdecimal() else 0) from None
            # Whoever held it before may have removed the file between the two calls.
            with contextlib.suppress(FileNotFoundError):
                if os.stat(self.path).st_ino == os.fstat(fd).st_ino:
                    os.ftruncate(fd, 0)
                    os.pwrite(fd, str(os.getpid()).encode(), 0)
                    return fd
            os.close(fd)

    def release(self) -> None:
        """Let others in; a second call does nothing."""
        with _guard:
            if self.path in _held:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.path)
                os.close(self._fd)
                _held.discard(self.path)


def _in_use(path: str, pid: int) -> JournalInUse:
    who = f"process {pid}" if pid else "another process"
    return JournalInUse(f"journal {path!r} is in use by {who}; wait for its end, or name another journal", pid=pid)
