"""Log records and warnings of a function, on their way from its process to the caller's."""

from __future__ import annotations

import logging
import threading
import traceback
import warnings
from collections.abc import Callable
from typing import Any

__all__ = ["Record", "give_out", "give_out_or_print", "send_logs", "set_level"]

Record = tuple[str, int, str, str, int, str, float, str]
"""Logger, level, message, path, line, name of the function, seconds since 1970, traceback; a warning: see _WARNING."""

_WARNING = "py.warnings"  # the logger that logging.captureWarnings() names


class _Sender(logging.Handler):
    def __init__(self, send: Callable[[Record], None]) -> None:
        super().__init__()
        self._send = send
        self._sending = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info else ""
        self._send(
            (
                record.name, record.levelno, record.getMessage(), record.pathname, record.lineno, record.funcName or "",
                record.created, trace,
            )
        )  # fmt: skip


def send_logs(send: Callable[[Record], None]) -> None:
    """From now on what is logged in this process, and every warning, goes through ``send``; to no other handler."""
    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    root.addHandler(_Sender(send))

    def showwarning(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None,
        line: str | None = None,
    ) -> None:  # fmt: skip
        import time

        text = f"{category.__module__}.{category.__qualname__}"
        send((_WARNING, logging.WARNING, str(message), filename, lineno, text, time.time(), ""))

    warnings.showwarning = showwarning


def set_level(level: int) -> None:
    """Records below it are not even made, unless their logger has a level of its own."""
    logging.getLogger().setLevel(level)


def give_out(record: Record, url: str) -> None:
    """In the caller's process: hand it to the logger (or, a warning, to ``warnings``) it was meant for.

    A record has the object as its attribute ``s3_url``, and behind its message.
    """
    name, level, message, path, line, function, created_s, trace = record
    about = f" ({url})" if url else ""
    if name == _WARNING:
        warnings.warn_explicit(f"{message}{about}", _category(function), path, line)
        return
    made = logging.LogRecord(name, level, path, line, f"{message}{about}", None, None, function)
    made.created = created_s
    made.s3_url = url
    if trace:
        made.exc_text = trace.rstrip("\n")
    logger = logging.getLogger(name)
    if logger.isEnabledFor(level):
        logger.handle(made)


def give_out_or_print(record: Record) -> None:
    """The same where nobody can be told of what that raises: it is printed, as by a thread that fails."""
    try:
        give_out(record, "")
    except Exception as error:  # noqa: BLE001  (a warning that is an error here)
        traceback.print_exception(error)


def _category(dotted: str) -> type[Warning]:
    """Of a warning, if this process knows it."""
    import importlib

    module, _, name = dotted.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        return UserWarning
    return found if isinstance(found, type) and issubclass(found, Warning) else UserWarning
