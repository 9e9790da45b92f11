"""Answers of stores that the proxy gives by itself."""

from __future__ import annotations

import re

from tests.faults.kinds import Respond

_XML = ("Content-Type", "application/xml")


def error_answer(status: int, code: str, *headers: tuple[str, str]) -> Respond:
    """An ``<Error>`` as S3 writes it. With status 200: what COPY and COMPLETE do when it is too late for 5xx."""
    return Respond(status, (_XML, *headers), error_body(code))


def slow_down(retry_after_s: int | None = None, code: str = "SlowDown") -> Respond:
    """503 of a store that wants fewer requests."""
    headers = () if retry_after_s is None else (("Retry-After", str(retry_after_s)),)
    return error_answer(503, code, *headers)


def error_body(code: str) -> bytes:
    """The XML of an error."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>made up</Message></Error>'.encode()
    )


def failed_deletes(request_body: bytes, code: str) -> bytes:
    """A DeleteResult in which each key of the request has an error."""
    keys = re.findall(rb"<Key>(.*?)</Key>", request_body, re.DOTALL)
    errors = b"".join(
        b"<Error><Key>%s</Key><Code>%s</Code><Message>made up</Message></Error>" % (key, code.encode()) for key in keys
    )
    return b'<?xml version="1.0" encoding="UTF-8"?>\n<DeleteResult>' + errors + b"</DeleteResult>"
