"""Large bodies that are announced (``Expect: 100-continue``) while a store refuses work, instead of sent in vain."""

from __future__ import annotations

from typing import Any

__all__ = ["Announcing"]

_EXPECT_BYTES = 1024 * 1024  # smaller bodies are sent sooner than asked about
_UNANSWERED = 3  # announced in vain: this endpoint does not know how
_EXPECTATION_FAILED = 417


class Announcing:
    """What endpoints were found to make of it."""

    def __init__(self) -> None:
        self.unanswered: dict[Any, int] = {}
        """By endpoint: bodies announced in vain."""

    def is_worth_it(self, endpoint: Any, size_bytes: int) -> bool:
        """Whether a body is to be announced there."""
        return size_bytes >= _EXPECT_BYTES and self.unanswered.get(endpoint, 0) < _UNANSWERED

    def was_refused(self, exchange: Any) -> bool:
        """Whether the answer is one to the announcement itself; then there will be no more to that endpoint."""
        if getattr(exchange, "status", 0) != _EXPECTATION_FAILED:
            return False
        self.unanswered[exchange.endpoint] = _UNANSWERED
        return True

    def was_in_vain(self, endpoint: Any) -> None:
        """No answer came in time, and the body is sent unasked."""
        self.unanswered[endpoint] = self.unanswered.get(endpoint, 0) + 1

    def was_answered(self, exchange: Any) -> None:
        """A request is done; if its body was asked for, the endpoint knows how."""
        if getattr(exchange, "continued", False):
            self.unanswered.pop(exchange.endpoint, None)
