"""A program for each object: its body goes into standard input, what comes out of standard output is the result."""

from __future__ import annotations

import os
import selectors
import shlex
import subprocess
from collections.abc import Iterator

from s3engine.errors import ConfigError
from s3engine.functions.fetched import FetchedObject

__all__ = ["Program"]

_READ_BYTES = 256 * 1024
_STDERR_BYTES = 2000  # of its end, for the error


class Program:
    """A function that runs ``command`` (words as a shell would split them; no shell) on each object.

    The program sees the object as S3ENGINE_URL and S3ENGINE_KEY in its environment. What it writes to standard error
    is part of the error when it ends with another code than 0, and dropped else. ``whole``: the function returns all
    that it wrote, else it gives it piece by piece. Raises ConfigError for what cannot be split.
    """

    def __init__(self, command: str, *, whole: bool = False) -> None:
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise ConfigError(f"{command!r} is no command: {error}") from None
        if not self._words:
            raise ConfigError("the command is empty")
        self._whole = whole
        self.__qualname__ = command
        """What messages call it."""

    def __call__(self, found: FetchedObject) -> bytes | Iterator[bytes]:
        """What the program makes of the object."""
        pieces = self._run(found)
        return b"".join(pieces) if self._whole else pieces

    def _run(self, found: FetchedObject) -> Iterator[bytes]:
        environment = os.environ | {"S3ENGINE_URL": found.url, "S3ENGINE_KEY": found.key}
        with subprocess.Popen(
            self._words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
        ) as process:
            said = bytearray()
            try:
                yield from _pumped(process, found, said)
                code = process.wait()
            except BaseException:
                process.kill()
                raise
        if code:
            text = said.decode(errors="backslashreplace").strip()
            raise RuntimeError(f"{self._words[0]} ended with code {code}{f': {text}' if text else ''}")


def _pumped(process: subprocess.Popen[bytes], found: FetchedObject, said: bytearray) -> Iterator[bytes]:
    """What comes out, while the body goes in: in one thread, so that neither waits for the other for ever."""
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    chunks = iter(found.chunks())
    rest = memoryview(b"")
    os.set_blocking(process.stdin.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdin, selectors.EVENT_WRITE)
        selector.register(process.stdout, selectors.EVENT_READ)
        selector.register(process.stderr, selectors.EVENT_READ)
        while selector.get_map():
            for key, _ in selector.select():
                stream = key.fileobj
                if stream is process.stdin:
                    if not rest:
                        rest = memoryview(next(chunks, b""))
                    try:
                        if rest:
                            rest = rest[os.write(key.fd, rest[:_READ_BYTES]) :]
                            continue
                    except BlockingIOError:
                        continue
                    except BrokenPipeError:
                        rest = memoryview(b"")  # it does not want the rest, like head
                    selector.unregister(process.stdin)
                    process.stdin.close()
                    continue
                data = os.read(key.fd, _READ_BYTES)
                if not data:
                    selector.unregister(stream)
                elif stream is process.stdout:
                    yield data
                else:
                    said += data
                    del said[:-_STDERR_BYTES]
