"""The command line ``s3engine``: verbs over :class:`s3engine.Engine`. Runs in the main thread of the parent process.

    main -> app (verbs, exit codes) -> options (arguments to Config) -> transfer, remove, buckets, perf, demo
                                       directions (what cp and mv do in each), plan (dry runs), local (files of SRC)
                                       show (lines, errors, summary), bar (progress), interrupts (Ctrl-C, SIGTERM)

Importing this module costs nothing: ``--version`` answers before click is imported, and each verb imports the engine
only when it runs.
"""

from __future__ import annotations

import sys

from s3engine._version import __version__

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line (``sys.argv[1:]`` unless ``arguments``) and return the exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if given == ["--version"]:
        sys.stdout.write(f"s3engine {__version__}\n")
        return 0
    if arguments is None:
        import gc

        # A process of our own: tasks in flight are many tuples and no cycles, and looking for cycles among them costs
        # the parent a tenth of its time.
        gc.set_threshold(50_000, 20, 100)
    from s3engine.cli.app import run

    return run(given)
