"""The command line ``s3engine``: verbs over :class:`s3engine.Engine`. Runs in the main thread of the parent process.

    program -> main -> app (verbs) -> options, settings (arguments to Config) -> transfer, remove, buckets, perf, demo
                    quick (ls without click) -> listed
                                       outcome (errors to lines and exit codes)
                                       directions (what cp and mv do in each), plan (dry runs), local (files of SRC)
                                       show (lines, errors, summary), bar (progress), interrupts (Ctrl-C, SIGTERM)

Importing this module costs nothing: ``--version`` answers before click is imported, ``ls`` runs without it, and each
verb imports the engine only when it runs.
"""

from __future__ import annotations

import os
import sys

from s3engine._version import __version__

TYPE_CHECKING = False  # as of typing, whose import takes a while
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

__all__ = ["main", "program"]


def program() -> NoReturn:
    """What the command ``s3engine`` runs: :func:`main`, then the end of the process.

    At once where nothing is left but to take the interpreter apart, which takes 5 ms and more: functions that wait for
    the end are run, streams flushed. With a debugger, or threads that go on, it ends as any Python does.
    """
    code = main()
    if sys.gettrace() is None and sys.getprofile() is None and _is_alone():
        import atexit

        atexit._run_exitfuncs()
        with_trouble = False
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):  # Python says it its own way, and has an exit code for it
                with_trouble = True
        if not with_trouble:
            os._exit(code)
    sys.exit(code)


def _is_alone() -> bool:
    """Whether no thread is left that Python would wait for."""
    threading = sys.modules.get("threading")
    return threading is None or all(one.daemon for one in threading.enumerate() if one is not threading.main_thread())


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
    if arguments[:1] == ["ls"]:
        from s3engine.cli.quick import values_of_ls

        values = values_of_ls(arguments[1:])
        if values is not None:
            from s3engine.cli.listed import list_objects
            from s3engine.cli.outcome import exit_code_of

            return exit_code_of(lambda: list_objects(**values))
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
