"""The command line ``s3engine``: verbs over :class:`s3engine.Engine`. Runs in the main thread of the parent process.

    main -> app (verbs, exit codes) -> options (arguments to Config) -> transfer, remove, buckets, perf, demo
                                       directions (what cp and mv do in each), plan (dry runs), local (files of SRC)
                                       show (lines, errors, summary), bar (progress), interrupts (Ctrl-C, SIGTERM)

Importing this module costs nothing: ``--version`` answers before click is imported, and each verb imports the engine
only when it runs.
"""

from __future__ import annotations

import os
import sys

from s3engine._version import __version__

TYPE_CHECKING = False  # as of typing, whose import takes a while
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line (``sys.argv[1:]`` unless ``arguments``) and return the exit code."""
    if arguments is not None:
        return _run(arguments)
    try:
        _open_streams()
        _watch_signals(_came_early)
        try:
            if sys.argv[1:] != ["--version"]:
                import gc

                # A process of our own: tasks in flight are many tuples and no cycles, and looking for cycles among them
                # costs the parent a tenth of its time.
                gc.set_threshold(50_000, 20, 100)
            return _run(sys.argv[1:])
        finally:
            _watch_signals(_came_late)
    except KeyboardInterrupt:
        sys.stderr.write("s3engine: interrupted\n")
        return 130


def _run(arguments: list[str]) -> int:
    if arguments == ["--version"]:
        sys.stdout.write(f"s3engine {__version__}\n")
        return 0
    from s3engine.cli.app import run

    return run(arguments)


class _Early(KeyboardInterrupt):
    """Ctrl-C during an import. See :class:`s3engine.cli.interrupts.Interrupted` for why it has a class of its own."""


def _came_early(number: int, frame: object) -> None:
    raise _Early


def _came_late(number: int, frame: object) -> None:
    """All is said and done, and the interpreter ends: nothing is left to interrupt but that."""
    os._exit(130)


def _watch_signals(handler: Callable[[int, object], None]) -> None:
    """What Ctrl-C does before and after a verb runs; where it is ignored (a script's ``&``) it stays so."""
    import signal

    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, handler)


def _open_streams() -> None:
    """Open /dev/null where a standard stream is closed, as some who start daemons do.

    Otherwise the next file or connection would get its number, and whatever is printed would go there.
    """
    for fd, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            opened = os.open(os.devnull, mode)  # the lowest number that is free: this one
            os.set_inheritable(opened, True)
    for name, fd in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(fd, "w", encoding="utf-8", errors="backslashreplace", closefd=False))
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
