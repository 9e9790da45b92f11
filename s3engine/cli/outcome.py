"""The one place where what happened to a verb becomes a line on stderr and an exit code: see app.py for the codes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable

from s3engine.cli.interrupts import interrupts
from s3engine.cli.text import complain, explain, write
from s3engine.errors import ConfigError, S3EngineError

__all__ = ["drop_stdout", "exit_code_of"]

BROKEN_PIPE = 141


def exit_code_of(verb: Callable[[], int | None]) -> int:
    """Run a verb; every error that is not about usage ends here."""
    code = 0
    with interrupts:
        try:
            code = verb() or 0
            write("")  # whatever waits in the stream
        except KeyboardInterrupt:
            complain("interrupted")
            code = interrupts.exit_code or 130
        except BrokenPipeError:
            drop_stdout()
            return BROKEN_PIPE
        except ConfigError as error:
            complain(str(error))
            code = 2
        except S3EngineError as error:
            complain(explain(error))
            code = 1
        except OSError as error:
            complain(f"{error.strerror or error}{f': {error.filename!r}' if error.filename else ''}")
            code = 1
            try:
                sys.stdout.flush()
            except OSError:
                drop_stdout()
    return interrupts.exit_code or code


def drop_stdout() -> None:
    """What the stream still holds must not raise again when the interpreter ends."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
