"""A plan whose listings fail for good while most of what they gave is not begun yet."""

from __future__ import annotations

import re
import threading

from tests.faults import Fault, Respond, Until

MAX_ATTEMPTS = 3
"""What the engine must be told."""
_FAILURES = MAX_ATTEMPTS + 1  # when nothing else is answered it looks whether the store is down, and asks once more
_DESTROYS = re.compile(rb"POST \S*\?delete[ =&]|(?s:PUT .*\nx-amz-copy-source:)|GET (?!\S*list-type=2)", re.IGNORECASE)


class HalfListed:
    """Page ``number`` of each listing below ``p/`` answers 500, however often it is asked for.

    Until the engine knows that the listing has failed each DeleteObjects, copy and GET is answered late, but no more
    than ``hold_s`` late. So with few requests in flight much is listed and not begun when it has to stop.
    """

    def __init__(self, number: int, *, hold_s: float = 5.0) -> None:
        self._number = number
        self._hold_s = hold_s
        self._tokens: dict[bytes, int] = {}
        self._failed = 0
        self._over = threading.Event()

    def __call__(self, _connection_no: int, _request_no: int, head: bytes) -> Fault | None:
        """What happens to a request."""
        if _DESTROYS.match(head):
            return None if self._over.is_set() else Until(self._over, self._hold_s)
        words = head.split(b"\r\n", 1)[0].replace(b" ", b"&").split(b"&")
        if b"prefix=p%2F" not in words or not any(b"list-type=2" in word for word in words):
            return None
        token = next((word for word in words if b"continuation-token=" in word), b"")
        if self._tokens.setdefault(token, len(self._tokens) + 1) < self._number:
            return None
        self._failed += 1
        if self._failed == _FAILURES:
            self._over.set()
        return Respond(500)
