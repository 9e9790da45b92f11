"""Who decides, for one engine, how uploads are checked: asks the store once, and only when that is worth it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from s3engine.config import TransportSettings
from s3engine.errors import Cancelled, S3EngineError
from s3engine.integrity.abilities import AMAZON, Abilities, endpoint_name, is_amazon, is_loopback
from s3engine.integrity.choice import Checking, check_setting, choose
from s3engine.integrity.probe import Call, probe
from s3engine.integrity.remembered import Remembered
from s3engine.transport import Capabilities

__all__ = ["UploadChecks"]

_remembered = Remembered()


class UploadChecks:
    """For one engine; safe to use from several threads.

    Raises ConfigError when ``setting`` names an algorithm that cannot be computed here or not be sent.
    """

    def __init__(
        self, setting: str, settings: TransportSettings, transport: str, capabilities: Capabilities, call: Call, *,
        remembered: Remembered = _remembered,
    ) -> None:  # fmt: skip
        check_setting(setting, capabilities, transport)
        self._setting = setting
        self._capabilities = capabilities
        self._call = call
        self._remembered = remembered
        self._lock = threading.Lock()
        self._failed = False
        plain = settings.endpoint_url.startswith("http://")
        mode = settings.payload_signing
        self._signed = settings.credentials is not None and (mode == "always" or (mode == "auto" and plain))
        self._amazon = is_amazon(settings.endpoint_url)
        self._local = is_loopback(settings.endpoint_url)
        # What was found through one transport, or without SHA-256, says little of another.
        kind = "signed" if self._signed else "unsigned"
        self._name = f"{endpoint_name(settings.endpoint_url)} {transport} {kind}"

    def known(self) -> Checking | None:
        """What to do, if that can be said without asking the store."""
        if self._amazon:
            return self._choose(AMAZON)
        if self._setting == "none" or not self._capabilities.checksums:
            return self._choose(Abilities())
        found = self._remembered.get(self._name)
        if found is None and (self._setting != "auto" or self._failed or not self._capabilities.multipart):
            found = Abilities()
        return None if found is None else self._choose(found)

    def cautious(self) -> Checking:
        """What to do while the store was not asked."""
        return self._choose(Abilities())

    def find(self, bucket: str, key: str, stopped: Callable[[], bool] = lambda: False) -> Checking:
        """What to do; asks the store if it has to, by uploads to ``key`` that are aborted. Blocks for that time.

        A store that does not let itself be asked, or gives no clear answer, is treated cautiously, and not asked again
        by this engine. Once ``stopped()`` it asks no further: raises Cancelled when all that was begun was ended,
        another S3EngineError when that may be left.
        """
        with self._lock:
            known = self.known()
            if known is not None:
                return known
            try:
                found = probe(
                    self._call, bucket, key, signed=self._signed,
                    trailers=self._capabilities.trailers and not self._signed, stopped=stopped,
                )  # fmt: skip
            except S3EngineError as error:
                if isinstance(error, Cancelled) or stopped():
                    raise  # says nothing of the store
                # Whatever it is, the uploads themselves will meet it and report it.
                self._failed = True
                return self.cautious()
            # Which server listens on a port of this machine changes from one day to the next, and asking it again takes
            # milliseconds.
            self._remembered.put(self._name, found, to_file=not self._local)
            return self._choose(found)

    def _choose(self, abilities: Abilities) -> Checking:
        return choose(self._setting, abilities, self._capabilities, signed=self._signed)
