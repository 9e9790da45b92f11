"""The prefix of one comparison: nobody else's, empty before, empty afterwards. Always by the raw transport."""

from __future__ import annotations

import secrets
import shlex
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from s3engine.config import Config
from s3engine.engine import Engine
from s3engine.errors import ConfigError, S3EngineError, ServerFault
from s3engine.transport import ObjectInfo
from s3engine.uri import S3Uri

__all__ = ["Ground", "without_secrets"]

NAME = "s3engine-compare-"
_SETTLE_S = 1.0  # for a request of a process that was killed to come to its end in the store
_TRIES = 3


class Ground:
    """``s3://bucket/prefix/s3engine-compare-<random>/``: what the processes of a comparison work on.

    ``settings`` are those of Config that all transports share. Nothing above it is ever deleted.
    """

    def __init__(self, target: S3Uri, settings: Mapping[str, Any]) -> None:
        above = target.key if not target.key or target.key.endswith("/") else target.key + "/"
        self.uri = S3Uri(target.bucket, f"{above}{NAME}{secrets.token_hex(8)}/")
        self._settings = settings
        self._config = Config.from_mapping({**settings, "transport": "raw", "workers": 1}, "settings")

    def below(self, name: str) -> str:
        """The prefix of one run."""
        return f"{self.uri.key}{name}/"

    @property
    def command(self) -> str:
        """What removes it by hand."""
        command = ["s3engine", "rm", "-r", str(self.uri)]
        for setting in ("endpoint_url", "profile", "region"):
            value = self._settings.get(setting)
            if value:
                command += [f"--{setting.replace('_', '-')}", without_secrets(value)]
        return shlex.join(command)

    def check(self) -> None:
        """Ask the store for what is there, which must be nothing. Raises S3EngineError when it cannot be asked."""
        with Engine(self._config) as engine:
            for info in engine.list(self.uri.bucket, self.uri.key):
                raise ConfigError(f"s3://{self.uri.bucket}/{info.key} is there already, below a random prefix")

    def clear(self, prefix: str, *, broken_off: bool = False) -> int:
        """Delete what is left below ``prefix``, which is this one or below it; returns how many objects there were.

        ``broken_off``: a process was ended in the middle of its work, so requests may still be on their way; it takes
        a second more. Raises S3EngineError when something cannot be deleted, or when the store lists what is not below
        ``prefix``: then nothing is deleted.
        """
        self._own(prefix)
        removed = 0
        with Engine(self._config) as engine:
            for _ in range(_TRIES):
                if broken_off:
                    time.sleep(_SETTLE_S)
                left = list(engine.list(self.uri.bucket, prefix))
                if not left:
                    return removed
                for info in left:  # a store may ignore the prefix
                    if not info.key.startswith(prefix):
                        raise ServerFault(f"asked for what is below {prefix!r} the store lists {info.key!r}")
                removed += self._delete(engine, left)
        raise ServerFault(f"the store still lists {len(left)} objects below {prefix!r} after they were deleted")

    def abort_uploads(self, prefix: str) -> int:
        """Abort the unfinished uploads of large objects below ``prefix``. Raises S3EngineError."""
        self._own(prefix)
        with Engine(self._config) as engine:
            return engine.abort_uploads(self.uri.bucket, prefix)

    def _own(self, prefix: str) -> None:
        if not prefix.startswith(self.uri.key) or NAME not in self.uri.key:
            raise ConfigError(f"{prefix!r} is not below {self.uri.key!r}")

    def _delete(self, engine: Engine, left: list[ObjectInfo]) -> int:
        failed: list[S3EngineError] = []
        deleted = 0
        for report in engine.delete(self.uri.bucket, left):
            if report.error is None:
                deleted += 1
            else:
                failed.append(report.error)
        if failed:
            raise failed[0]
        return deleted


def without_secrets(endpoint_url: str) -> str:
    """A URL without user, password and query; other text as it is."""
    parts = urlsplit(endpoint_url)
    if not parts.scheme:
        return endpoint_url
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()
