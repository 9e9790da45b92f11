"""How things are put into lines: one thing is one line, whatever characters its name holds."""

from __future__ import annotations

import re
import sys
import time
from typing import Any

from s3engine.errors import AccessDenied, ConnectFailed, ConnectTimeout, NotFound, NotS3, RequestError, S3EngineError
from s3engine.plain import brief, one_line

__all__ = ["complain", "explain", "glob_hint", "human_bytes", "json_line", "one_line", "write", "write_bytes"]

# A line of an error holds two names at most, of 1 KiB each where the store keeps to the rules of S3, and a message.
_LONGEST = 6000


def write(block: str) -> None:
    """A block of whole lines to standard output, at once.

    Raises BrokenPipeError when nobody reads any more, OSError when it cannot be written (to a file on a full disk).
    """
    write_bytes(block.encode(sys.stdout.encoding or "utf-8", "backslashreplace"))


def write_bytes(block: bytes | bytearray) -> None:
    """The same of bytes, for names that no encoding can say."""
    try:
        _write(memoryview(block))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(error.errno, f"cannot write to standard output: {error.strerror}") from None


def _write(rest: memoryview) -> None:
    stream = sys.stdout
    stream.flush()
    # Not stream.write(): under PYTHONUNBUFFERED it drops the rest of a write that a signal cut short.
    while rest:
        written = stream.buffer.write(rest)
        if not written:  # a pipe that somebody made non-blocking, and full
            time.sleep(0.01)
            continue
        rest = rest[written:]
    stream.buffer.flush()


def complain(text: str) -> None:
    """One line to standard error, of bounded length."""
    sys.stderr.write(f"s3engine: {brief(text, _LONGEST)}\n")
    sys.stderr.flush()


def explain(error: S3EngineError, *, single: bool = False) -> str:
    """The error's own line, and the options that may mend it where it cannot know of them.

    ``single``: the command line named this one object.
    """
    text = str(error)
    if isinstance(error, (ConnectFailed, ConnectTimeout)):
        return f"{text} (--endpoint-url, AWS_ENDPOINT_URL)"
    if isinstance(error, RequestError) and ((error.status >= 400 and not error.code) or isinstance(error, NotS3)):
        return f"{text} (--endpoint-url, AWS_ENDPOINT_URL)"
    if isinstance(error, AccessDenied):
        return f"{text}; look at the credentials and what they may do (AWS_ACCESS_KEY_ID, --profile)"
    if single and isinstance(error, NotFound) and error.code == "NoSuchKey":
        hint = glob_hint(error.bucket, error.key)
        return f"{text}; {hint or 'for all below it write -r, or / at its end'}"
    return text


def glob_hint(bucket: str, key: str) -> str:
    """What to write where a key or prefix looks like a pattern; "" where it does not."""
    found = re.search(r"[*?]", key)
    if found is None:
        return ""
    folder = key[: key.rfind("/", 0, found.start()) + 1]
    return (
        f"{found.group()} stands for itself in a URI, patterns are not expanded: "
        f"write -r 's3://{bucket}/{folder}' --include '{key[len(folder) :]}'"
    )


def json_line(**values: Any) -> str:
    """One JSON object, ASCII: a terminal and every encoding can take it."""
    import json  # lazy: 1.5 ms that lines for people do not need

    return json.dumps(values)


def human_bytes(count: float) -> str:
    """``count`` in decimal units, three digits: 12.3 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 99.5 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
