"""Who signs: a value that may cross processes but is never shown, and where it comes from.

Only the parent process looks credentials up (botocore's chain: environment, profiles, SSO, assume-role, web identity,
container and instance metadata). Workers get the value through their pipe, so no worker ever asks the network, and a
thousand workers cause one look-up. botocore is imported only when the environment alone does not answer.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from s3engine.errors import ConfigError, NoCredentials

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    from s3engine.frozen import dataclass

__all__ = ["AwsSettings", "CredentialSource", "Credentials", "load_settings"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key with its secret and, for temporary ones, the session token. ``repr`` shows no secret.

    Raises ConfigError, without the value, when one holds a line break or the like: HTTP clients would tell the token.
    """

    access_key: str
    secret_key: str
    token: str = ""

    def __post_init__(self) -> None:
        named = (("access key", self.access_key), ("secret key", self.secret_key), ("session token", self.token))
        for name, value in named:
            if not value.isprintable():
                raise ConfigError(f"the {name} must not hold a line break or another character that cannot be printed")

    def __repr__(self) -> str:
        return f"Credentials(access_key={self.access_key[:4]}..., secret hidden)"

    __str__ = __repr__


class AwsSettings(NamedTuple):
    """What AWS configuration says where the user said nothing: "" for unset."""

    region: str
    endpoint_url: str
    ca_bundle: str
    addressing_style: str


_CONFIG_FILES = (("AWS_CONFIG_FILE", "~/.aws/config"), ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"))


def _has_config_files(environ: Mapping[str, str]) -> bool:
    return any(os.path.isfile(os.path.expanduser(environ.get(name) or path)) for name, path in _CONFIG_FILES)


class CredentialSource:
    """Where the credentials of one engine come from; asks botocore at most once per ``current()`` and only if needed.

    ``current()`` may block on the network (IMDS, SSO, STS): call it in the parent, away from the hot loop. botocore
    refreshes temporary credentials by itself when they have less than 15 minutes left.
    """

    def __init__(self, *, profile: str = "", anonymous: bool = False, environ: Mapping[str, str] | None = None) -> None:
        self._profile = profile
        self._anonymous = anonymous
        self._environ = os.environ if environ is None else environ
        self._session: Any = None
        self._resolved: Any = None

    @property
    def fixed(self) -> bool:
        """True when the credentials can never change (anonymous, or keys from the environment)."""
        return self._anonymous or self._from_environment() is not None

    def _from_environment(self) -> Credentials | None:
        if self._profile:  # botocore's rule: a profile that is named explicitly goes before the environment
            return None
        access, secret = self._environ.get("AWS_ACCESS_KEY_ID"), self._environ.get("AWS_SECRET_ACCESS_KEY")
        if not access or not secret:
            return None
        token = self._environ.get("AWS_SESSION_TOKEN") or self._environ.get("AWS_SECURITY_TOKEN") or ""
        return Credentials(access, secret, token)

    def botocore_session(self) -> Any:
        """The botocore session of this profile. Raises ConfigError when the profile does not exist."""
        if self._session is None:
            from botocore.exceptions import BotoCoreError  # lazy: 150 ms
            from botocore.session import Session

            session = Session(profile=self._profile or None)
            try:
                session.get_scoped_config()
            except BotoCoreError as error:
                raise ConfigError(f"AWS configuration: {error}. Look at AWS_PROFILE, --profile and ~/.aws") from None
            self._session = session
        return self._session

    def current(self) -> Credentials | None:
        """Credentials valid now, or None when anonymous. Raises NoCredentials, ConfigError."""
        if self._anonymous:
            return None
        static = self._from_environment()
        if static is not None:
            return static
        from botocore.exceptions import BotoCoreError, ClientError

        session = self.botocore_session()
        try:
            if self._resolved is None:
                self._resolved = session.get_credentials()
            frozen = None if self._resolved is None else self._resolved.get_frozen_credentials()
        except (BotoCoreError, ClientError, OSError, RuntimeError, ValueError) as error:
            # Not BotoCoreError alone: STS that refuses the role (ClientError), a credential_process that is missing
            # (OSError) or prints no JSON (ValueError), fresh credentials that are out of date already (RuntimeError).
            raise NoCredentials(f"cannot get credentials: {error}") from None
        if frozen is None or not frozen.access_key:
            raise NoCredentials(
                "no credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile "
                "(AWS_PROFILE, --profile), or go without (--no-sign-request)"
            )
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token or "")


def load_settings(
    source: CredentialSource, *, profile: str = "", environ: Mapping[str, str] | None = None
) -> AwsSettings:
    """Region, endpoint, CA bundle and addressing style from ``AWS_*`` variables, then the profile.

    botocore is asked only when a configuration file exists or a profile is named.
    """
    env = os.environ if environ is None else environ
    region = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION") or ""
    ca_bundle = env.get("AWS_CA_BUNDLE", "")
    ignore = env.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true"
    endpoint = "" if ignore else env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL") or ""
    style = ""
    if profile or env.get("AWS_PROFILE") or _has_config_files(env):
        session = source.botocore_session()
        scoped = session.get_scoped_config()
        region = region or session.get_config_variable("region") or ""
        ca_bundle = ca_bundle or scoped.get("ca_bundle") or ""
        s3 = scoped.get("s3")
        style = s3.get("addressing_style", "") if isinstance(s3, dict) else ""
        if not endpoint and not ignore:
            services = session.full_config.get("services", {}).get(scoped.get("services", ""), {})
            endpoint = services.get("s3", {}).get("endpoint_url") or scoped.get("endpoint_url") or ""
    return AwsSettings(region, endpoint, ca_bundle, style)
