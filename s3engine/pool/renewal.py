"""Credentials that change: looked up again now and then, and when a worker finds that its own have expired."""

from __future__ import annotations

import threading
from collections.abc import Callable

from s3engine.credentials import Credentials, CredentialSource
from s3engine.errors import NoCredentials, S3EngineError
from s3engine.pool.fleet import Fleet

__all__ = ["CredentialRenewal"]

_EVERY_S = 30.0


class CredentialRenewal:
    """See the module. ``call`` has a function called in the supervisor's thread, from any other."""

    def __init__(
        self, source: CredentialSource, fleet: Fleet, call: Callable[[Callable[[], None]], None],
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self._source = source
        self._fleet = fleet
        self._call = call
        self._clock = clock
        self._under_way = False
        self._due_at = clock() + _EVERY_S

    def tick(self, now: float) -> None:
        """Look them up if it is time to."""
        if now >= self._due_at and not self._source.fixed:
            self.start(only_if_changed=True)

    def start(self, *, only_if_changed: bool) -> None:
        """Look credentials up away from this thread (it may take seconds) and hand them to all workers."""
        self._due_at = self._clock() + _EVERY_S
        if self._under_way:
            return
        self._under_way = True

        def look_up() -> None:
            try:
                found: Credentials | S3EngineError | None = self._source.current()
            except S3EngineError as error:
                found = error
            except Exception as error:  # noqa: BLE001  (botocore and its plug-ins may raise anything)
                found = NoCredentials(f"cannot get credentials: {type(error).__name__}: {error}")
            self._call(lambda: self._over(found, only_if_changed))

        threading.Thread(target=look_up, name="s3engine-credentials", daemon=True).start()

    def _over(self, found: Credentials | S3EngineError | None, only_if_changed: bool) -> None:
        self._under_way = False
        old = self._fleet.settings.transport_settings.credentials
        if isinstance(found, S3EngineError):
            found = old  # the workers go on with what they have; the store's refusal will say what is wrong
        if only_if_changed and found == old:
            return
        self._fleet.set_credentials(found)
