"""A transport that wraps another one and keeps a tape: a line of JSON for each request that it made.

    s3engine cp --transport tape --endpoint-url 'http://127.0.0.1:9000?tape=/tmp/tape.jsonl' ./src s3://bucket/p/

What is wrapped is the raw transport, called from threads. ``docs/transports.md`` of s3engine explains each part.
"""

from __future__ import annotations

import inspect
import io
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

from s3engine import TransportSettings, capabilities_of, open_transport
from s3engine.transport import FilePart, GetResult, Transport


class TapeTransport:
    """See :class:`s3engine.transport.Transport`; `?tape=PATH` at the end of the endpoint says where the tape is."""

    # On the class, because the engine asks before it opens anything. All that the raw transport can, but for handing
    # out exchanges: so the engine calls our methods from threads, and each call is one request that can be timed.
    capabilities = replace(capabilities_of("raw"), multiplexable=False)

    def __init__(self, settings: TransportSettings) -> None:
        # Runs in every worker process, and in yours, which lists. The settings reach them all. A variable of the
        # environment would not: workers may come from a fork server that was started before the variable was set.
        parts = urlsplit(settings.endpoint_url)
        path = parse_qs(parts.query).get("tape", ["tape.jsonl"])[-1]
        self._inner = open_transport("raw", replace(settings, endpoint_url=parts._replace(query="").geturl()))
        # All processes append to one file. A line that is written in one go is never torn by another's; and without a
        # buffer none is lost, since a worker ends without emptying its buffers.
        self._tape = io.FileIO(path, "a")

    def __getattr__(self, name: str) -> Callable[..., Any]:
        # Only the operations: had we `exchanges` and `open_link` as well, requests would pass us by.
        if name.startswith("_") or name not in vars(Transport):
            raise AttributeError(name)
        operation = getattr(self._inner, name)
        if name.startswith("set_"):  # credentials, clock, region: no request, and not for anybody's eyes
            return operation  # type: ignore[no-any-return]
        signature = inspect.signature(operation)

        def taped(*args: Any, **keywords: Any) -> Any:
            given = signature.bind(*args, **keywords).arguments
            line = {"operation": name, "bucket": given["bucket"], "key": given.get("key", ""), "error": ""}
            body = given.get("body", b"")
            moved_bytes = body.length if isinstance(body, FilePart) else len(body)
            began = time.perf_counter()
            try:
                result = operation(*args, **keywords)
                moved_bytes = result.size_bytes if isinstance(result, GetResult) else moved_bytes
                return result
            except Exception as error:
                line["error"] = type(error).__name__  # written down and raised on: the engine decides what to do
                raise
            finally:
                line |= {"seconds": round(time.perf_counter() - began, 6), "bytes": moved_bytes}
                if not self._tape.closed:  # else the operation has failed for being closed, and says so
                    self._tape.write(json.dumps(line).encode() + b"\n")

        setattr(self, name, taped)  # found at once the next time
        return taped

    def close(self) -> None:
        """Close the connections and the tape."""
        self._inner.close()
        self._tape.close()
