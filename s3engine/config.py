"""All settings, as frozen validated values: from keywords, a TOML file (``--config``) or ``S3ENGINE_*`` variables."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from s3engine.credentials import Credentials
from s3engine.errors import ConfigError

if TYPE_CHECKING:
    from dataclasses import dataclass, field
else:
    from s3engine.frozen import dataclass, field

__all__ = ["Config", "TransportSettings", "check_place", "usable_cores"]

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_START_METHODS = ("auto", "fork", "forkserver", "spawn")
_LANES = ("auto", "loop", "threads")
_ADDRESSING = ("auto", "path", "virtual")
_FSYNC = ("auto", "always", "never")
_SIGNING = ("auto", "always", "never")
_CHECKSUMS = ("auto", "crc64nvme", "crc32c", "crc32", "sha256", "md5", "none")


def usable_cores() -> int:
    """Cores this process may use: its affinity, not the machine's count."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Shown:
    """A dataclass whose ``repr`` shows no secret: of a URL neither login nor query."""

    __slots__ = ()

    def __repr__(self) -> str:
        import dataclasses

        own = dataclasses.fields(self)  # type: ignore[arg-type]  # whoever inherits is a dataclass
        values = {entry.name: getattr(self, entry.name) for entry in own if entry.repr}
        values["endpoint_url"] = _without_secrets(values["endpoint_url"])
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in values.items())})"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TransportSettings(_Shown):
    """What a transport needs to open itself in a worker process. Picklable; ``repr`` shows no secret."""

    endpoint_url: str = ""
    """"" means Amazon S3 in ``region``."""
    region: str = "us-east-1"
    credentials: Credentials | None = None
    """None: anonymous."""
    addressing_style: str = "auto"
    """path, virtual, or auto: virtual on Amazon for names that suit DNS, else path."""
    payload_signing: str = "auto"
    """always, never, or auto: SHA-256 of the body signed over HTTP, UNSIGNED-PAYLOAD over HTTPS."""
    ca_bundle: str = ""
    """A file or folder of CA certificates; "": the system's."""
    verify_tls: bool = True
    max_connections: int = 256
    """Idle connections kept per endpoint."""
    user_agent: str = "s3engine"
    single: bool = False
    """It makes a few calls one by one, as the parent does: a quick start counts for more than many connections."""


def _number(name: str, value: object, low: float, high: float, *, whole: bool) -> None:
    kind = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
        what = "a whole number" if whole else "a number"
        raise ConfigError(f"{name} must be {what} from {low:.15g} to {high:.15g}, not {value!r}")


def _choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(filter(None, choices))}, not {value!r}")


def check_place(endpoint_url: str, region: str) -> None:
    """Raises ConfigError for a URL or a region that no request could be sent to. "" is none."""
    if region and re.fullmatch(r"[A-Za-z0-9._-]{1,64}", region) is None:
        raise ConfigError(f"region must be a name such as us-east-1, not {region!r}")
    if not endpoint_url:
        return
    shown = _without_secrets(endpoint_url)
    plain = shown == endpoint_url
    shown = repr(shown) if plain else "(not shown, it may hold a password)"
    if not endpoint_url.startswith(("http://", "https://")):
        raise ConfigError(f"endpoint_url must begin with http:// or https://, not {shown}")
    try:
        parts = urlsplit(endpoint_url)
        why = "" if parts.hostname and parts.port != 0 else "it has no host, or the port 0"
    except ValueError as error:
        why = str(error) if plain else "its host or port is none"
    # A transport of somebody else may take what it likes behind the host.
    if re.search(r"[\x00-\x1f\x7f]", endpoint_url) or re.search(r"\s", endpoint_url.split("/")[2]):
        why = "it holds white space"
    if why:
        raise ConfigError(f"endpoint_url must be a URL such as http://127.0.0.1:9000, not {shown}: {why}")


def _without_secrets(url: str) -> str:
    """A URL without what stands before an ``@`` in it, or behind a ``?`` or ``#``."""
    begin, slashes, rest = url.partition("://") if "://" in url else ("", "", url)
    return begin + slashes + re.split(r"[?#]", rest.rpartition("@")[2], maxsplit=1)[0]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Config(_Shown):
    """Every setting of an engine. Unknown names and values out of bounds raise ConfigError, which names them.

    Peak memory of a worker is about 35 MiB and 1 KiB per request in flight, plus the small bodies in flight (those
    below ``multipart_threshold_bytes`` that are given as bytes) and up to 64 MiB of files that are hashed before they
    are sent; other bodies from and to files are streamed.
    """

    endpoint_url: str = ""
    """Where the store is, e.g. ``http://127.0.0.1:9000``. Default: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, the profile,
    else Amazon S3."""
    region: str = ""
    """Default: AWS_REGION, AWS_DEFAULT_REGION, profile, else us-east-1."""
    profile: str = ""
    """Default: AWS_PROFILE. A profile that is named here goes before keys in the environment."""
    anonymous: bool = False
    """Do not sign."""
    addressing_style: str = ""
    """auto, path or virtual. Default: the profile's ``s3.addressing_style``, else auto."""
    payload_signing: str = "auto"
    """always, never, or auto: over HTTP the body's SHA-256 is signed, over HTTPS it is not."""
    checksum: str = "auto"
    """What uploads are checked by: crc64nvme, crc32c (both need the extra ``crt``), crc32, sha256, md5, none, or auto:
    the cheapest that the store is found to compare."""
    ca_bundle: str = ""
    """Default: AWS_CA_BUNDLE, profile, else the system's."""
    verify_tls: bool = True
    transport: str = "raw"
    """A name of ``s3engine.pool.load.BUILT_IN`` or of an entry point in the group ``s3engine.transports``."""
    workers: int = field(default_factory=usable_cores)
    """Worker processes, 1 to 256. Default: the cores this process may use."""
    concurrency: int = 512
    """Requests in flight over all workers, 1 to 1024, at most: a worker has 32 where answers come within 5 ms, 128
    where they do not, and more than that while they come no later for it. With transports that block, 128."""
    max_parts_in_flight: int = 16
    """Of those, at most so many that move a part of a large object, 1 to 1024."""
    lane: str = "auto"
    """loop, threads, or auto: the loop for transports that can be multiplexed."""
    start_method: str = "auto"
    """fork, forkserver, spawn, or auto: fork while the process has one thread, else forkserver."""
    multipart_threshold_bytes: int = 16 * MIB
    """Objects larger than this move in parts, 5 MiB to 5 GiB."""
    part_size_bytes: int = 8 * MIB
    """Size of a part, 5 MiB to 5 GiB; raised by itself where an object would need more than 10 000 parts."""
    copy_threshold_bytes: int = 1 * GIB
    """Copies larger than this use UploadPartCopy (CopyObject ends at 5 GiB)."""
    copy_part_size_bytes: int = 256 * MIB
    fsync: str = "auto"
    """always, never, or auto: a downloaded file is on the disk, safe from a power cut, before it counts as done and,
    in a move, before its object is deleted; auto does so for moves, and with a journal before files are on
    record as done (all of them together). It costs a few milliseconds for each file."""
    verify_downloads: bool = True
    """Compare what was downloaded or copied with the checksum or MD5 that the store has of it, where there is one; see
    docs/integrity.md. False: for stores whose ETags look like MD5s and are none."""
    max_attempts: int = 8
    """Attempts per request, 1 to 100. Free retries (stale connection, clock, region, credentials) are not counted."""
    retry_base_s: float = 0.05
    """Full jitter: random() * min(base * 2^k, 20 s). Source: the AWS standard retry mode of November 2026."""
    retry_throttle_base_s: float = 1.0
    give_up_after_s: float = 900.0
    """While the retry budget is empty requests wait instead of failing; after so long without a single success they do
    fail. An endpoint that never answered is given up with the first request that used up its attempts."""
    timeout_policy: Any = None
    """A :class:`s3engine.control.timeouts.TimeoutPolicy`; None is ``AdaptiveTimeouts()``."""
    shutdown_grace_s: float = 2.0
    """How long requests in flight may go on after a cancel."""
    max_buffered_reports: int = 10_000
    """Reports kept for somebody who iterates a batch; beyond that the batch waits."""

    function_buffer_bytes: int = 64 * MIB
    """Memory of each worker for bodies on their way to a function, 8 MiB to 64 GiB. Larger bodies than an eighth of it
    come in chunks of that size."""
    function_memory_bytes: int = 0
    """What a function process may have of its own, 64 MiB to 64 TiB; 0: three quarters of what the machine has."""

    def __post_init__(self) -> None:
        _number("workers", self.workers, 1, 256, whole=True)
        _number("concurrency", self.concurrency, 1, 1024, whole=True)
        _number("max_parts_in_flight", self.max_parts_in_flight, 1, 1024, whole=True)
        _number("multipart_threshold_bytes", self.multipart_threshold_bytes, 5 * MIB, 5 * GIB, whole=True)
        _number("part_size_bytes", self.part_size_bytes, 5 * MIB, 5 * GIB, whole=True)
        _number("copy_threshold_bytes", self.copy_threshold_bytes, 5 * MIB, 5 * GIB, whole=True)
        _number("copy_part_size_bytes", self.copy_part_size_bytes, 5 * MIB, 5 * GIB, whole=True)
        _number("max_attempts", self.max_attempts, 1, 100, whole=True)
        _number("retry_base_s", self.retry_base_s, 0, 60, whole=False)
        _number("retry_throttle_base_s", self.retry_throttle_base_s, 0, 60, whole=False)
        _number("give_up_after_s", self.give_up_after_s, 1, 86_400, whole=False)
        _number("shutdown_grace_s", self.shutdown_grace_s, 0, 600, whole=False)
        _number("max_buffered_reports", self.max_buffered_reports, 1, 10_000_000, whole=True)
        _number("function_buffer_bytes", self.function_buffer_bytes, 8 * MIB, 64 * GIB, whole=True)
        if self.function_memory_bytes != 0:
            _number("function_memory_bytes", self.function_memory_bytes, 64 * MIB, 64 * 1024 * GIB, whole=True)
        _choice("addressing_style", self.addressing_style, ("", *_ADDRESSING))
        _choice("payload_signing", self.payload_signing, _SIGNING)
        _choice("fsync", self.fsync, _FSYNC)
        _choice("checksum", self.checksum, _CHECKSUMS)
        _choice("lane", self.lane, _LANES)
        _choice("start_method", self.start_method, _START_METHODS)
        for name in ("endpoint_url", "region", "profile", "ca_bundle", "transport"):
            if not isinstance(getattr(self, name), str):
                raise ConfigError(f"{name} must be text, not {getattr(self, name)!r}")
        for name in ("anonymous", "verify_tls", "verify_downloads"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} must be true or false, not {getattr(self, name)!r}")
        check_place(self.endpoint_url, self.region)
        policy = self.timeout_policy
        if policy is not None and (isinstance(policy, type) or not callable(getattr(policy, "timeouts", None))):
            raise ConfigError(f"timeout_policy must be a TimeoutPolicy, as AdaptiveTimeouts() is, not {policy!r}")

    def replace(self, **changes: Any) -> Config:
        """A copy with some settings changed. Raises ConfigError."""
        return type(self).from_mapping({**_explicit(self), **changes}, "argument")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], origin: str) -> Config:
        """A Config out of names and values; ``origin`` says in errors where they came from."""
        known = _settings(cls)
        for name in values:
            if name not in known:
                close = [other for other in sorted(known) if other.startswith(name[:4])] or sorted(known)
                raise ConfigError(f"unknown setting {name!r} in {origin}; did you mean {', '.join(close)}?")
        try:
            return cls(**values)
        except ConfigError as error:
            raise ConfigError(f"{origin}: {error}") from None

    @classmethod
    def from_toml(cls, path: str, **overrides: Any) -> Config:
        """Settings from a TOML file's top level; keywords go before the file. Raises ConfigError."""
        try:
            tomllib = importlib.import_module("tomllib")  # lazy: only who has a file pays for the parser
        except ModuleNotFoundError:  # Python 3.10
            tomllib = importlib.import_module("tomli")
        try:
            with open(path, "rb") as file:
                values = tomllib.load(file)
        except OSError as error:
            raise ConfigError(f"cannot read the configuration file {path!r}: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"the configuration file {path!r} is no TOML: {error}") from None
        return cls.from_mapping({**values, **overrides}, f"configuration file {path!r}")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Settings in ``S3ENGINE_NAME`` variables, converted to the type of the setting. Raises ConfigError."""
        env = os.environ if environ is None else environ
        found: dict[str, Any] = {}
        for name, kind in _settings(cls).items():
            text = env.get("S3ENGINE_" + name.upper())
            if text is None or name == "timeout_policy":
                continue
            try:
                found[name] = _convert(kind, text)
            except ValueError:
                raise ConfigError(f"S3ENGINE_{name.upper()} must be of type {kind}, not {text!r}") from None
        return found


def _convert(kind: str, text: str) -> Any:
    if kind == "int":
        return int(text)
    if kind == "float":
        return float(text)
    if kind == "bool":
        if text.lower() not in ("true", "false", "1", "0"):
            raise ValueError(text)
        return text.lower() in ("true", "1")
    return text


def _settings(cls: type[Config]) -> dict[str, str]:
    """The types of all settings by name, also of a class that inherits."""
    found: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        found.update(vars(one).get("__annotations__", {}))
    return found


def _explicit(config: Config) -> dict[str, Any]:
    return {name: getattr(config, name) for name in _settings(type(config))}
