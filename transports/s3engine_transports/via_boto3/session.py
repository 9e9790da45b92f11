"""boto3 clients that look at nothing but our settings, make one attempt, and sign as they are told at that moment.

What boto3 would do by itself, and how it is kept from it:

- *Look things up*: ``~/.aws``, ``AWS_*`` variables, instance metadata. The engine has resolved all of that in its
  parent process. The session's ``config_store`` component gets a constant for every name it knows, and the components
  ``credential_provider`` and ``token_provider`` are ours. (Components are botocore's own mechanism for this.)
- *Try again*: ``Config(retries={"total_max_attempts": 1})`` turns off the retry modes, but not the S3 region
  redirector, which every client registers for ``needs-retry.s3`` without an id to unregister it by. So the session is
  made with an emitter of ours (its ``event_hooks`` argument) that takes no handler for ``needs-retry``.
- *Read the clock when signing*: ``choose-signer.s3`` names our signer, S3SigV4Auth with an offset added to its time.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Callable
from typing import Any

import boto3.session
import botocore.session
from botocore import UNSIGNED
from botocore.auth import AUTH_TYPE_MAPS, S3SigV4Auth
from botocore.config import Config
from botocore.configprovider import ConstantProvider, create_botocore_default_config_mapping
from botocore.credentials import Credentials as BotocoreCredentials
from botocore.credentials import ReadOnlyCredentials
from botocore.hooks import HierarchicalEmitter

from s3engine.config import TransportSettings
from s3engine.credentials import Credentials
from s3engine.errors import ConfigError

__all__ = ["CLOCK_OFFSET", "Clients", "CurrentCredentials", "scheme_of"]

CLOCK_OFFSET = "s3engine_clock_offset_s"
"""Where ``request.context`` has the seconds to add to the clock."""

_RETRY = "needs-retry"
_SIGNER = "s3engine-s3v4"
_TIMESTAMP = "%Y%m%dT%H%M%SZ"
# One that is no file: botocore takes that for "there is no configuration".
_NO_FILE = os.devnull


class CurrentCredentials(BotocoreCredentials):
    """What botocore asks before each signature; ``value`` may be replaced at any time. None is anonymous."""

    def __init__(self, value: Credentials | None) -> None:
        super().__init__("", "", method="s3engine")
        self.value = value

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """The credentials of this moment."""
        value = self.value
        if value is None:
            return ReadOnlyCredentials("", "", None)
        return ReadOnlyCredentials(value.access_key, value.secret_key, value.token or None)

    def load_credentials(self) -> CurrentCredentials:
        """Of the ``credential_provider`` component."""
        return self


class _NoTokens:
    """The ``token_provider`` component: bearer tokens are not for S3, and looking for them reads the environment."""

    def load_token(self, **_: Any) -> None:
        return None


class _OneAttempt(HierarchicalEmitter):
    """An emitter that takes no handler for ``needs-retry``, so that nothing asks for a second attempt."""

    def register(self, event_name: str, *args: Any, **keywords: Any) -> None:
        if not event_name.startswith(_RETRY):
            super().register(event_name, *args, **keywords)

    def register_first(self, event_name: str, *args: Any, **keywords: Any) -> None:
        if not event_name.startswith(_RETRY):
            super().register_first(event_name, *args, **keywords)

    def register_last(self, event_name: str, *args: Any, **keywords: Any) -> None:
        if not event_name.startswith(_RETRY):
            super().register_last(event_name, *args, **keywords)


class _ClockedAuth(S3SigV4Auth):
    """Botocore's signer of S3 with the offset of :data:`CLOCK_OFFSET` added to the time."""

    def _modify_request_before_signing(self, request: Any) -> None:
        offset_s = request.context.get(CLOCK_OFFSET)
        if offset_s:
            now = datetime.datetime.strptime(request.context["timestamp"], _TIMESTAMP)
            request.context["timestamp"] = (now + datetime.timedelta(seconds=offset_s)).strftime(_TIMESTAMP)
        super()._modify_request_before_signing(request)  # type: ignore[misc]  # botocore-stubs know no hooks


def scheme_of(settings: TransportSettings) -> str:
    """http or https. Raises ConfigError when the endpoint has neither."""
    scheme, found, host = (settings.endpoint_url or "https://s3").partition("://")
    if scheme.lower() not in ("http", "https") or not found or not host.strip("/"):
        raise ConfigError(f"endpoint_url {settings.endpoint_url!r} must be like http://host:port")
    return scheme.lower()


class Clients:
    """Makes the clients of one transport, one for each region. Not safe for threads: making clients never is."""

    def __init__(self, settings: TransportSettings, credentials: CurrentCredentials) -> None:
        self._settings = settings
        self._credentials = credentials
        self._session = self._make_session()
        self._config = self._make_config()

    def _make_session(self) -> Any:
        session = botocore.session.Session(event_hooks=_OneAttempt())
        store = session.get_component("config_store")
        defaults = {name: default for name, (_, _, default, _) in session.SESSION_VARIABLES.items()}
        defaults.update(config_file=_NO_FILE, credentials_file=_NO_FILE)
        for name in create_botocore_default_config_mapping(session):
            store.set_config_provider(name, ConstantProvider(defaults.get(name)))
        session.register_component("credential_provider", self._credentials)
        session.register_component("token_provider", _NoTokens())
        AUTH_TYPE_MAPS[_SIGNER] = _ClockedAuth
        return boto3.session.Session(botocore_session=session)

    def _make_config(self) -> Config:
        settings = self._settings
        style = settings.addressing_style
        if style == "auto" and settings.endpoint_url:
            style = "path"
        signing = settings.payload_signing
        signed = scheme_of(settings) == "http" if signing == "auto" else signing == "always"
        keywords: dict[str, Any] = {
            "retries": {"total_max_attempts": 1, "mode": "standard"},
            "s3": {
                "addressing_style": style, "payload_signing_enabled": signed, "us_east_1_regional_endpoint": "regional",
            },
            "user_agent": settings.user_agent,
            "max_pool_connections": settings.max_connections,
            "ignore_configured_endpoint_urls": True,
            "signature_version": "s3v4",
            # Botocore before 1.36 has neither, and does as they say.
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }  # fmt: skip
        known = Config.OPTION_DEFAULTS
        return Config(**{name: value for name, value in keywords.items() if name in known})

    def make(self, region: str, handlers: dict[str, Callable[..., Any]]) -> Any:
        """A client for a region, with handlers for events; they go before botocore's own."""
        client = self._session.client(
            "s3", region_name=region, endpoint_url=self._settings.endpoint_url or None, config=self._config,
            verify=self._settings.verify_tls,
        )  # fmt: skip
        events = client.meta.events
        events.register_first("choose-signer.s3", self._choose_signer)
        for name, handler in handlers.items():
            events.register_first(name, handler)
        return client

    def _choose_signer(self, signature_version: Any, **_: Any) -> Any:
        if self._credentials.value is None:
            return UNSIGNED
        # Other signers (v4a, s3express) are for buckets that are addressed by other means than their name.
        return _SIGNER if signature_version in ("s3v4", "v4") else None
